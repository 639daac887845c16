//go:build linux

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/exec"
)

// Root is a root file system that a sandbox has in place of the host's: the
// layers of an image. Everything else about it is as in every sandbox.
type Root struct {
	// Layers are directories in the format of overlay's layers, topmost first.
	// Ids on disk are ids inside.
	Layers []string
	// Dirs are directories whose owner and mode are these, whatever the
	// layers say, each after the one above it.
	Dirs []Dir
	// UID, GID and Groups are who commands run as.
	UID, GID int
	Groups   []int
	// Env is the environment of a fresh login, to which the machine's proxy
	// settings are added.
	Env []string
	// WorkDir is a directory that is made, and belongs to the user, if it is
	// not there.
	WorkDir string
	// Release is called, if it is set, when the session no longer uses the
	// layers, or was not opened after all.
	Release func() error
}

// Dir is a directory of a root.
type Dir struct {
	Path     string
	Mode     fs.FileMode
	UID, GID int
}

// OpenRoot starts a sandbox with another root than the host's.
func (r *Runtime) OpenRoot(ctx context.Context, spec exec.SessionSpec, root Root) (exec.Networked, error) {
	if len(root.Layers) == 0 {
		return nil, errors.Join(fmt.Errorf("%w: a root needs layers", problem.ErrInvalid), release(&root))
	}
	s, err := r.openAny(ctx, spec, &root)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func release(root *Root) error {
	if root == nil || root.Release == nil {
		return nil
	}
	return root.Release()
}

// user is who the session's commands run as.
func (root *Root) user() user {
	if root == nil {
		return user{}
	}
	u := user{uid: root.UID, gid: root.GID}
	for _, g := range root.Groups {
		u.groups = append(u.groups, uint32(g))
	}
	return u
}

// maxLayers is the kernel's limit on the layers of an overlay, minus ours.
const maxLayers = 490

// mountLayers mounts the layers, with ids mapped, as one overlay at root. lower
// is the session's file system in memory.
func (r *rootfs) mountLayers(root, lower string) error {
	if len(r.root.Layers) > maxLayers {
		return fmt.Errorf("%w: the image has %d layers, more than the %d that the kernel can put together", problem.ErrInvalid, len(r.root.Layers), maxLayers)
	}
	// Every id of the image exists inside.
	userns, err := r.ids.get(ownerMap(r.base, 0, 0, user{}))
	if err != nil {
		return err
	}
	names := []string{"base"}
	for i, dir := range r.root.Layers {
		name := strconv.Itoa(i)
		if err := attachDir(dir, filepath.Join(lower, name), userns, unix.MOUNT_ATTR_RDONLY); err != nil {
			return err
		}
		names = append(names, name)
	}
	// Relative names, for all of them have to fit into one page. The thread's
	// working directory is its own.
	if err := unix.Chdir(lower); err != nil {
		return err
	}
	opts := fmt.Sprintf("lowerdir=%s,upperdir=scratch/upper0,workdir=scratch/work0,volatile,xino=off", strings.Join(names, ":"))
	if err := unix.Mount("overlay", root, "overlay", 0, opts); err != nil {
		return fmt.Errorf("mount overlay of %d layers: %w", len(r.root.Layers), err)
	}
	return unix.Chdir("/")
}

// imageLayer is the base layer of an image's root: only the directories whose
// owner and mode would be wrong otherwise.
func imageLayer(dirs []Dir) baseLayer {
	var l baseLayer
	for _, d := range dirs {
		l = append(l, layerEntry{Path: d.Path, Kind: search, Mode: fs.ModeDir | d.Mode, UID: d.UID, GID: d.GID})
	}
	return l
}

// furnish makes the directories that programs expect and an image may lack.
func (r *rootfs) furnish(root string) error {
	rootfd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(rootfd)
	want := []Dir{{Path: "/tmp", Mode: 0o777 | fs.ModeSticky}, {Path: "/proc", Mode: 0o555}, {Path: "/sys", Mode: 0o555}, {Path: "/dev", Mode: 0o755}}
	if r.root.WorkDir != "" {
		want = append(want, Dir{Path: filepath.Clean("/" + r.root.WorkDir), Mode: 0o755, UID: r.user.uid, GID: r.user.gid})
	}
	for _, d := range want {
		how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT}
		fd, err := unix.Openat2(rootfd, d.Path, &how)
		if err == nil {
			unix.Close(fd)
			continue
		}
		if !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("look at %s: %w", d.Path, err)
		}
		if fd, err = r.target(rootfd, d.Path, true); err != nil {
			return err
		}
		name := fmt.Sprintf("/proc/self/fd/%d", fd)
		err = errors.Join(os.Chown(name, r.base+d.UID, r.base+d.GID), os.Chmod(name, d.Mode))
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("make %s: %w", d.Path, err)
		}
	}
	return nil
}
