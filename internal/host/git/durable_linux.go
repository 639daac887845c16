package git

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// errNotDir is a file where a path has a directory.
const errNotDir = syscall.ENOTDIR

// syncFileSystem writes out all that waits to be written to dir's file system.
func syncFileSystem(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}
