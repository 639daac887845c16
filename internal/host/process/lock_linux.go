package process

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// lockName is the file that a supervisor locks and writes its pid into.
const lockName = "up.lock"

// Lock takes the run directory for one supervisor and holds it until release
// is called or the process ends.
func Lock(runDir string) (release func(), err error) {
	path := filepath.Join(runDir, lockName)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	// A lock of the open file description: it can be looked at without being
	// taken, and closing another descriptor of the file does not drop it.
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		f.Close()
		return nil, fmt.Errorf("another penstock up supervises this data directory: %w", problem.ErrExists)
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// LockHolder returns the pid of the supervisor that holds the run directory,
// 0 when none does.
func LockHolder(runDir string) int {
	f, err := os.Open(filepath.Join(runDir, lockName))
	if err != nil {
		return 0
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock) != nil || lock.Type == unix.F_UNLCK {
		return 0
	}
	var pid int
	if _, err := fmt.Fscan(limit(f), &pid); err != nil || pid <= 1 {
		return 0
	}
	return pid
}
