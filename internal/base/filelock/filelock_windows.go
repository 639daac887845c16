package filelock

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// far is where the locked byte is: behind everything that is in the file,
// because Windows keeps others from reading what is locked.
const far = 1 << 30

// Try takes the lock of the open file f, or says at once that it is taken.
func Try(f *os.File, kind Kind) error {
	flags := uint32(windows.LOCKFILE_FAIL_IMMEDIATELY)
	if kind == Exclusive {
		flags |= windows.LOCKFILE_EXCLUSIVE_LOCK
	}
	err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, &windows.Overlapped{OffsetHigh: far})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return ErrLocked
	}
	return err
}
