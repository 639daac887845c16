//go:build unix

package jobdir

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A runner may be started before there is a job for it, and wait at one end of
// a socket. The server hands it a job as one message: the path of its directory
// and, as open files, its lock and its runner.log. One byte is the answer: the
// runner holds the lock. Without it the job is still the server's to start.

// maxHandover bounds a message; a path is shorter.
const maxHandover = 8 << 10

// HandOver gives the job to the runner at the other end, which has the given
// time for its answer. When it fails, that runner must be gone before the job
// may be started in another way.
func (d Dir) HandOver(conn *net.UnixConn, lock, log *os.File, within time.Duration) error {
	if len(d) > maxHandover {
		return errors.New("path of the job is too long to be handed over")
	}
	if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	if _, _, err := conn.WriteMsgUnix([]byte(d), unix.UnixRights(int(lock.Fd()), int(log.Fd())), nil); err != nil {
		return fmt.Errorf("hand over job: %w", err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		return fmt.Errorf("wait for the runner's answer: %w", err)
	}
	return nil
}

// Offer is a job that was handed over.
type Offer struct {
	Dir  Dir
	Lock int // file descriptor
	Log  *os.File
	conn *net.UnixConn
}

// AwaitOffer waits for a job. It returns io.EOF when there will be none.
func AwaitOffer(conn *net.UnixConn) (Offer, error) {
	text, rights := make([]byte, maxHandover), make([]byte, unix.CmsgSpace(2*4))
	n, rn, _, _, err := conn.ReadMsgUnix(text, rights)
	if err != nil {
		return Offer{}, err
	}
	if n == 0 {
		return Offer{}, io.EOF
	}
	messages, err := unix.ParseSocketControlMessage(rights[:rn])
	if err != nil {
		return Offer{}, fmt.Errorf("read handed over files: %w", err)
	}
	var fds []int
	for _, m := range messages {
		more, err := unix.ParseUnixRights(&m)
		if err != nil {
			return Offer{}, fmt.Errorf("read handed over files: %w", err)
		}
		fds = append(fds, more...)
	}
	if len(fds) != 2 {
		return Offer{}, fmt.Errorf("a job came with %d files, not 2", len(fds))
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
	return Offer{Dir: Dir(text[:n]), Lock: fds[0], Log: os.NewFile(uintptr(fds[1]), "runner.log"), conn: conn}, nil
}

// Accept says that the lock is held. The job is the runner's from then on.
func (o Offer) Accept() error {
	_, err := o.conn.Write([]byte{1})
	return err
}
