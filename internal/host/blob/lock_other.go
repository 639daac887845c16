//go:build !unix

package blob

import "os"

// openLock opens the lock file. Without a way to know who else has the store
// open, nothing is swept.
func openLock(path string, _ func() error) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
}
