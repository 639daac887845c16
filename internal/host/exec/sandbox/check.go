//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/exec/cgtree"
)

// Check looks at everything that sandboxes need; dir is where they will write.
func Check(dir string) []Finding {
	var out []Finding
	need := func(name, hint string, err error) bool {
		out = append(out, Finding{Name: name, OK: err == nil, Err: err, Hint: hint})
		return err == nil
	}
	var root error
	if os.Geteuid() != 0 {
		root = errors.New("penstock does not run as root")
	}
	isRoot := need("root", "run it with sudo, or use the process runtime, which isolates nothing", root)
	for _, p := range []struct{ program, pkg string }{{"runc", "runc"}, {"iptables", "iptables"}, {"iptables-restore", "iptables"}} {
		_, err := exec.LookPath(p.program)
		need(p.program, "apt-get install -y "+p.pkg, err)
	}
	_, err := cgtree.Root()
	need("control groups", "mount -t cgroup2 none /sys/fs/cgroup/unified", err)
	if isRoot {
		need("mounts with mapped ids", "needs Linux 5.19 or later and a root file system such as ext4, xfs or btrfs; inside another container use the process runtime", checkIDMap("/"))
		need("overlay on the data directory", "put the data directory on a disk file system such as ext4 or xfs", checkOverlay(dir))
	}
	return out
}

func refuse(findings []Finding) error {
	for _, f := range findings {
		if !f.OK {
			return &problem.Error{Op: "start sandboxes", Subject: f.Name, Err: f.Err, Hint: f.Hint}
		}
	}
	return nil
}

func checkIDMap(path string) error {
	userns, err := newUserNamespace(rootMap(firstID, nil))
	if err != nil {
		return fmt.Errorf("make user namespace: %w", err)
	}
	defer userns.Close()
	fd, err := detached(path, userns, unix.MOUNT_ATTR_RDONLY)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// checkOverlay looks whether the file system of dir, or of the first directory
// above it that exists, can hold the writable layer of an overlay.
func checkOverlay(dir string) error {
	for {
		if _, err := os.Stat(dir); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	tmp, err := os.MkdirTemp(dir, ".penstock-check-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := unix.Setxattr(tmp, "trusted.overlay.opaque", []byte("y"), 0); err != nil {
		return fmt.Errorf("%s has no trusted attributes: %w", dir, err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(tmp, &st); err != nil {
		return err
	}
	if st.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return fmt.Errorf("%s is itself on an overlay", dir)
	}
	return nil
}
