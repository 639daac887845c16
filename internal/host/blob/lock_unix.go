//go:build unix

package blob

import (
	"os"

	"golang.org/x/sys/unix"
)

// openLock holds the lock file at path, shared with the other processes that
// have the store open. When there is none, alone is called first, while nobody
// can join.
func openLock(path string, alone func() error) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		err = alone()
	}
	if err == nil {
		// Whoever sweeps holds it for a moment only.
		err = unix.Flock(int(f.Fd()), unix.LOCK_SH)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
