//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/penstock-dev/penstock/internal/host/exec"
	"github.com/penstock-dev/penstock/internal/host/exec/sandbox/wire"
)

// rootfs is what a session's root file system is made of.
type rootfs struct {
	base    int     // host id of the sandbox's root
	ids     *idmaps // shared by the sessions
	extra   []int   // further user ids of the host that exist inside
	root    *Root   // nil: the host's
	user    user    // whose the workspace and the mounts are inside
	layer   baseLayer
	under   []string // mounts below / that are shown, parents first
	scratch string   // private directory for upper and work, on a disk
	bundle  string   // directory that the mapped root may enter; "root" in it is the mount point
	mounts  []exec.Mount
	files   map[string]string // content of files in the upper layer: path to content
	agent   int               // detached mount of our own executable
}

// prepare makes the directories of the upper layer. It runs outside the mount
// namespace. The caller calls release in any case.
func (r *rootfs) prepare() (err error) {
	// The link leads to the executable as it was started, even if an upgrade
	// has replaced the file since.
	r.agent, err = r.detached("/proc/self/exe", unix.MOUNT_ATTR_RDONLY)
	if err != nil {
		return err
	}
	for _, d := range []string{filepath.Join(r.bundle, "root"), filepath.Join(r.bundle, "lower"), r.scratch} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			return err
		}
	}
	for i := range r.overlays() {
		for _, d := range []string{r.dir("upper", i), r.dir("work", i)} {
			if err := os.Mkdir(d, 0o755); err != nil {
				return err
			}
			if err := os.Chown(d, r.base, r.base); err != nil {
				return err
			}
		}
	}
	for p, content := range r.files {
		if err := r.file(p, content); err != nil {
			return err
		}
	}
	return nil
}

// release closes what prepare opened.
func (r *rootfs) release() {
	if r.agent > 0 {
		unix.Close(r.agent)
	}
}

// overlays lists the mount points that get an overlay: the root and what is
// mounted below it.
func (r *rootfs) overlays() []string { return append([]string{"/"}, r.under...) }

func (r *rootfs) dir(kind string, i int) string { return filepath.Join(r.scratch, layerDir(kind, i)) }

func layerDir(kind string, i int) string { return fmt.Sprintf("%s%d", kind, i) }

// file puts a file of the sandbox's root into the upper layer.
func (r *rootfs) file(p, content string) error {
	name := filepath.Join(r.dir("upper", 0), p)
	dir := filepath.Dir(name)
	if err := os.Mkdir(dir, 0o755); err == nil {
		if err := os.Chown(dir, r.base, r.base); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		return err
	}
	return os.Chown(name, r.base, r.base)
}

// mount assembles the root file system. It runs in the session's own mount
// namespace: nothing of it is ever visible on the host, and it all goes with
// the last process in there, however that ends.
func (r *rootfs) mount() error {
	root := filepath.Join(r.bundle, "root")
	userns, err := r.ids.get(rootMap(r.base, r.extra))
	if err != nil {
		return err
	}
	// A file system in memory for the base layer and for mount points.
	lower := filepath.Join(r.bundle, "lower")
	if err := unix.Mount("lower", lower, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=16m"); err != nil {
		return fmt.Errorf("mount lower directories: %w", err)
	}
	base := filepath.Join(lower, "base")
	if err := os.Mkdir(base, 0o755); err != nil {
		return err
	}
	if err := os.Chown(base, r.base, r.base); err != nil {
		return err
	}
	if err := r.layer.write(base, r.base, r.mapped); err != nil {
		return err
	}
	// The options of an overlay are one text; a name of ours has nothing in it
	// that would have to be escaped.
	scratch := filepath.Join(lower, "scratch")
	if err := attachDir(r.scratch, scratch, nil, 0); err != nil {
		return err
	}
	if r.root != nil {
		if err := r.mountLayers(root, lower); err != nil {
			return err
		}
		if err := r.furnish(root); err != nil {
			return fmt.Errorf("furnish the image: %w", err)
		}
		return r.binds(root)
	}
	for i, p := range r.overlays() {
		host := filepath.Join(lower, fmt.Sprintf("host%d", i))
		if err := attachDir(p, host, userns, unix.MOUNT_ATTR_RDONLY); err != nil {
			return err
		}
		layers := host
		if over := filepath.Join(base, p); exists(over) {
			layers = over + ":" + host
		}
		// Nothing in a sandbox outlives it, so nothing needs to reach the disk.
		opts := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s,volatile,xino=off", layers, filepath.Join(scratch, layerDir("upper", i)), filepath.Join(scratch, layerDir("work", i)))
		if err := unix.Mount("overlay", filepath.Join(root, p), "overlay", 0, opts); err != nil {
			return fmt.Errorf("mount overlay of %s: %w", p, err)
		}
	}
	return r.binds(root)
}

// mapped says whether a user of the host exists inside.
func (r *rootfs) mapped(uid int) bool {
	return uid < 100 || uid == nobody || r.root != nil || slices.Contains(r.extra, uid)
}

func exists(p string) bool {
	_, err := os.Lstat(p)
	return err == nil
}

// attachDir makes the directory at and mounts a clone of the mount that holds
// src there, narrowed to src.
func attachDir(src, at string, userns *os.File, attrs uint64) error {
	if err := os.Mkdir(at, 0o700); err != nil {
		return err
	}
	fd, err := detached(src, userns, attrs)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	target, err := unix.Open(at, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(target)
	if err := attach(fd, target); err != nil {
		return fmt.Errorf("attach %s: %w", src, err)
	}
	return nil
}

// binds attaches the workspace, the other mounts and the agent.
func (r *rootfs) binds(root string) error {
	rootfd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(rootfd)
	if err := r.attach(r.agent, rootfd, wire.AgentPath, false); err != nil {
		return fmt.Errorf("mount agent: %w", err)
	}
	for _, m := range r.mounts {
		if err := r.bind(rootfd, m); err != nil {
			return fmt.Errorf("mount %s at %s: %w", m.Source, m.Target, err)
		}
	}
	return nil
}

func (r *rootfs) bind(rootfd int, m exec.Mount) error {
	d, err := r.detach(m)
	if err != nil {
		return err
	}
	defer unix.Close(d.fd)
	return r.attach(d.fd, rootfd, d.target, d.dir)
}

// detachedMount is a mount that is not in the sandbox yet.
type detachedMount struct {
	fd     int
	target string
	dir    bool
}

func (r *rootfs) detach(m exec.Mount) (detachedMount, error) {
	attrs := uint64(unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID)
	if m.ReadOnly {
		attrs |= unix.MOUNT_ATTR_RDONLY
	}
	fi, err := os.Stat(m.Source)
	if err != nil {
		return detachedMount{}, err
	}
	fd, err := r.detached(m.Source, attrs)
	return detachedMount{fd, m.Target, fi.IsDir()}, err
}

// detached returns a mount of source in which what its owner owns belongs to
// the session's user inside.
func (r *rootfs) detached(source string, attrs uint64) (int, error) {
	var st unix.Stat_t
	if err := unix.Stat(source, &st); err != nil {
		return -1, fmt.Errorf("look at %s: %w", source, err)
	}
	userns, err := r.ids.get(ownerMap(r.base, int(st.Uid), int(st.Gid), r.user))
	if err != nil {
		return -1, err
	}
	return detached(source, userns, attrs)
}

func (r *rootfs) attach(fd, rootfd int, target string, dir bool) error {
	at, err := r.target(rootfd, target, dir)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	return attach(fd, at)
}

// target opens the path p inside the root, making what is missing. Links are
// followed as they would be inside, so none leads out.
func (r *rootfs) target(rootfd int, p string, dir bool) (int, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT}
	fd, err := unix.Openat2(rootfd, p, &how)
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	if p == "/" || p == "." {
		return -1, err
	}
	parent, err := r.target(rootfd, filepath.Dir(p), true)
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	name := filepath.Base(p)
	if dir {
		err = unix.Mkdirat(parent, name, 0o755)
	} else {
		var f int
		if f, err = unix.Openat(parent, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o644); err == nil {
			unix.Close(f)
		}
	}
	if err != nil {
		return -1, fmt.Errorf("make mount point %s: %w", p, err)
	}
	if err := unix.Fchownat(parent, name, r.base, r.base, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return -1, err
	}
	return unix.Openat2(rootfd, p, &how)
}
