//go:build !linux

package git

import (
	"io/fs"
	"path/filepath"
	"syscall"

	"github.com/penstock-dev/penstock/internal/base/atomicfile"
)

// errNotDir is a file where a path has a directory.
const errNotDir = syscall.ENOTDIR

// syncFileSystem syncs what is under dir one by one, where the system cannot
// do it at once.
func syncFileSystem(dir string) error {
	return filepath.WalkDir(filepath.Join(dir, "refs"), func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return atomicfile.SyncDir(path)
	})
}
