//go:build linux

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Locks are advisory locks on files: the kernel lets go of them when their
// holder dies, so what is not locked has no owner.

var errLocked = errors.New("locked by another process")

// lockFile opens the file, making it if need be, and takes its lock. Whoever
// holds the lock may remove the file.
func lockFile(name string) (*os.File, error) {
	for {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, errLocked
			}
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		// The file may have been removed by its last holder since we opened
		// it; then ours is a lock on nothing.
		mine, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, err
		}
		if there, err := os.Stat(name); err == nil && os.SameFile(mine, there) {
			return f, nil
		}
		f.Close()
	}
}

// machineLock orders the taking of slots and the removal of what all sandboxes
// share. It is held for milliseconds.
const machineLock = machineDir + ".lock"

// withMachineLock runs f while no other process of the machine does.
func withMachineLock(ctx context.Context, f func() error) error {
	for {
		lock, err := lockFile(machineLock)
		if err == nil {
			defer lock.Close()
			defer os.Remove(machineLock)
			return f()
		}
		if !errors.Is(err, errLocked) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the lock on sandboxes: %w", ctx.Err())
		case <-time.After(2 * time.Millisecond):
		}
	}
}
