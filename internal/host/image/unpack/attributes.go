//go:build linux

package unpack

import (
	"archive/tar"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// attributes gives the entry its owner, mode, extended attributes and time.
func (u *unpacker) attributes(parent int, name string, h *tar.Header) error {
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) >= 1<<32-1 || int64(h.Gid) >= 1<<32-1 {
		return fmt.Errorf("%w: owner %d:%d", problem.ErrInvalid, h.Uid, h.Gid)
	}
	if err := unix.Fchownat(parent, name, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set owner: %w", err)
	}
	if h.Typeflag != tar.TypeSymlink {
		// After the owner, whose change clears bits. There is no call that does
		// not follow links, but this is none.
		if err := unix.Fchmodat(parent, name, uint32(h.Mode)&0o7777, 0); err != nil {
			return fmt.Errorf("set mode: %w", err)
		}
	}
	if err := xattrs(parent, name, h); err != nil {
		return err
	}
	return setTimes(parent, name, h)
}

const xattrRecord = "SCHILY.xattr."

// xattrs sets the extended attributes that are part of a program. Labels of
// the machine that built the image mean nothing here and are left out; those
// that overlayfs itself reads are refused.
func xattrs(parent int, name string, h *tar.Header) error {
	size := 0
	for record, value := range h.PAXRecords {
		key, ok := strings.CutPrefix(record, xattrRecord)
		if !ok {
			continue
		}
		if size += len(key) + len(value); size > maxXattrs {
			return fmt.Errorf("%w: extended attributes of more than %d bytes", problem.ErrInvalid, maxXattrs)
		}
		switch {
		case key == "security.capability", strings.HasPrefix(key, "user.") && !strings.HasPrefix(key, "user.overlay."):
		case strings.HasPrefix(key, "security."), strings.HasPrefix(key, "system."):
			continue
		default:
			return fmt.Errorf("%w: extended attribute %.100q is refused", problem.ErrInvalid, key)
		}
		if err := unix.Lsetxattr(at(parent, name), key, []byte(value), 0); err != nil {
			return fmt.Errorf("set attribute %.100q: %w", key, err)
		}
	}
	return nil
}

// at is a name for an entry of an open directory.
func at(parent int, name string) string { return fmt.Sprintf("/proc/self/fd/%d/%s", parent, name) }

func setTimes(parent int, name string, h *tar.Header) error {
	modified := h.ModTime
	if modified.IsZero() {
		modified = time.Unix(0, 0)
	}
	ts := unix.NsecToTimespec(modified.UnixNano())
	if err := unix.UtimesNanoAt(parent, name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set time: %w", err)
	}
	return nil
}

func create(parent int, name string) (*os.File, error) {
	fd, err := unix.Openat(parent, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// removeTree removes a directory of the layer with everything in it. Depth
// bounds the recursion, which the limit on paths does too.
func removeTree(parent int, name string, depth int) error {
	if depth == 0 {
		return fmt.Errorf("%w: directories are nested too deeply", problem.ErrInvalid)
	}
	fd, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	dir := os.NewFile(uintptr(fd), name)
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, n := range names {
		err := unix.Unlinkat(fd, n, 0)
		if errors.Is(err, unix.EISDIR) {
			err = removeTree(fd, n, depth-1)
		}
		if err != nil {
			return err
		}
	}
	return unix.Unlinkat(parent, name, unix.AT_REMOVEDIR)
}

// sortPaths puts parents before what is in them.
func sortPaths(paths []string) { slices.Sort(paths) }
