//go:build linux

package unpack

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// A layer hides what is below it by files with special names; overlayfs wants
// device files and attributes instead.
const (
	whiteoutPrefix = ".wh."
	whiteoutMeta   = ".wh..wh."     // what begins so is no file's name
	whiteoutOpaque = ".wh..wh..opq" // nothing of the directory in the layers below
)

func (u *unpacker) whiteout(dir, name string) error {
	if name == whiteoutOpaque {
		return u.whiteoutAll(dir)
	}
	if strings.HasPrefix(name, whiteoutMeta) {
		return nil // notes of the file system that some builders used
	}
	name = strings.TrimPrefix(name, whiteoutPrefix)
	if name == "" || name == "." || name == ".." {
		return fmt.Errorf("%w: it hides %q", problem.ErrInvalid, name)
	}
	parent, err := u.dir(dir)
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	p, err := u.inside(parent, name)
	if err != nil {
		return err
	}
	u.hidden[p] = true
	var st unix.Stat_t
	err = unix.Fstatat(parent, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case errors.Is(err, unix.ENOENT):
		return unix.Mknodat(parent, name, unix.S_IFCHR, 0) // device 0/0
	case err != nil:
		return err
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return opaque(parent, name) // this layer has its own, nothing of which is hidden
	}
	return nil // this layer's own file hides the one below anyway
}

func (u *unpacker) whiteoutAll(dir string) error {
	fd, err := u.dir(dir)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return opaque(fd, ".")
}

// opaque makes the directory hide everything below it. A later entry that
// finds it keeps the mark.
func opaque(parent int, name string) error {
	if err := unix.Lsetxattr(at(parent, name), "trusted.overlay.opaque", []byte("y"), 0); err != nil {
		return fmt.Errorf("hide what is below: %w", err)
	}
	return nil
}
