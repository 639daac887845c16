package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/penstock-dev/penstock/internal/base/filelock"
	"github.com/penstock-dev/penstock/internal/base/problem"
)

// lockServer takes the data directory dir for one server until release is
// called or the process ends. Two would start every job twice and take each
// other's git processes for leftovers.
func lockServer(dir string) (release func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, "server.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	err = filelock.Try(f, filelock.Exclusive)
	if err == nil {
		return func() { _ = f.Close() }, nil
	}
	_ = f.Close()
	if errors.Is(err, filelock.ErrLocked) {
		return nil, &problem.Error{Op: "serve the data directory", Subject: dir, Err: errors.New("another server uses it"), Hint: "penstock status"}
	}
	return nil, fmt.Errorf("lock the data directory: %w", err)
}
