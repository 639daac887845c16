package layout

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock-dev/penstock/node/internal/fault"
)

// ErrLocked says that another process works on the directory.
var ErrLocked = errors.New("in use by another process")

// Lock is the right to work on a directory. The kernel takes it back when the
// process ends, however it ends.
type Lock struct{ f *os.File }

// Acquire takes the lock, waiting until ctx is done for another holder. The
// holder's pid is in the file, for people and for `stop`.
func (d Dir) Acquire(ctx context.Context) (*Lock, error) {
	f, err := os.OpenFile(d.Path("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, &fault.Error{
				Op: "use the data directory", Subject: string(d),
				Err:  fmt.Errorf("%w (pid %d)", ErrLocked, d.Holder()),
				Hint: "penstock-node status --data-dir " + string(d),
			}
		case <-time.After(50 * time.Millisecond):
		}
	}
	if err := f.Truncate(0); err != nil {
		f.Close()
		return nil, fmt.Errorf("write the lock: %w", err)
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		f.Close()
		return nil, fmt.Errorf("write the lock: %w", err)
	}
	return &Lock{f}, nil
}

// Release gives the lock back.
func (l *Lock) Release() {
	_ = l.f.Close() // the kernel has nothing to write back: the pid is a note
}

// Holder returns the pid of the process that holds the lock, 0 for none.
func (d Dir) Holder() int {
	f, err := os.Open(d.Path("lock"))
	if err != nil {
		return 0
	}
	defer f.Close()
	// A shared lock is refused exactly while somebody holds the exclusive one.
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err == nil {
		return 0
	}
	b := make([]byte, 32)
	n, _ := f.ReadAt(b, 0)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	return pid
}
