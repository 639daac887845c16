//go:build unix

package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/penstock-dev/penstock/internal/ci/jobdir"
)

// Await waits for a job on the socket that this process was started with. It
// returns with the job's lock held, in the job's directory, and with standard
// output and error leading to the job's runner.log. The error is io.EOF when
// there will be no job: the server is gone, or ctx has ended.
func Await(ctx context.Context, fd int) (jobdir.Dir, *os.File, error) {
	unix.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "standby")
	c, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return "", nil, fmt.Errorf("open the server's socket: %w", err)
	}
	defer c.Close()
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return "", nil, errors.New("the server's socket is not a unix socket")
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	offer, err := jobdir.AwaitOffer(conn)
	if ctx.Err() != nil {
		return "", nil, io.EOF
	}
	if err != nil {
		return "", nil, err
	}
	defer offer.Log.Close()
	for _, f := range []*os.File{os.Stdout, os.Stderr} {
		if err := unix.Dup2(int(offer.Log.Fd()), int(f.Fd())); err != nil {
			return "", nil, fmt.Errorf("write to the job's log: %w", err)
		}
	}
	if err := os.Chdir(string(offer.Dir)); err != nil {
		return "", nil, err
	}
	lock, err := HoldLock(offer.Lock)
	if err != nil {
		return "", nil, err
	}
	if err := offer.Accept(); err != nil {
		lock.Close()
		return "", nil, fmt.Errorf("take the job: %w", err)
	}
	return offer.Dir, lock, nil
}

// HoldLock takes over the lock that the server passed as file descriptor fd,
// and keeps it from the commands of the job.
func HoldLock(fd int) (*os.File, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("inherited lock: %w", err)
	}
	unix.CloseOnExec(fd)
	lock := os.NewFile(uintptr(fd), "lock")
	if err := jobdir.Claim(lock); err != nil {
		return nil, fmt.Errorf("inherited lock: %w", err)
	}
	return lock, nil
}
