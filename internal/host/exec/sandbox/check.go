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
	out := checkQuickly()
	if os.Geteuid() != 0 {
		return out // the rest takes root
	}
	return append(out,
		finding("mounts with mapped ids", checkIDMap("/"),
			"needs Linux 5.19 or later and a root file system such as ext4, xfs or btrfs; inside another container use the process runtime"),
		finding("overlay on the data directory", checkOverlay(dir),
			"put the data directory on a disk file system such as ext4 or xfs"),
	)
}

// checkQuickly looks at what costs nothing to look at.
func checkQuickly() []Finding {
	var root error
	if os.Geteuid() != 0 {
		root = errors.New("penstock does not run as root")
	}
	out := []Finding{finding("root", root, "run it with sudo, or use the process runtime, which isolates nothing")}
	for _, p := range []struct{ program, pkg string }{{"runc", "runc"}, {"iptables", "iptables"}, {"iptables-restore", "iptables"}} {
		_, err := tool(p.program)
		out = append(out, finding(p.program, err, "apt-get install -y "+p.pkg))
	}
	_, err := cgtree.Root()
	return append(out, finding("control groups", err, "mount -t cgroup2 none /sys/fs/cgroup/unified"))
}

// tool finds a program of the system, also for a user whose PATH lacks the
// directories of such programs.
func tool(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if p, e := exec.LookPath(filepath.Join(dir, name)); e == nil {
			return p, nil
		}
	}
	return "", err
}

func finding(name string, err error, hint string) Finding {
	return Finding{Name: name, OK: err == nil, Err: err, Hint: hint}
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
