package layout

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/penstock-dev/penstock/node/internal/fault"
)

// Version is the layout that this program writes. The file "layout" in the
// directory holds the version that is there.
//
//	1  Pod logs below kubelet/pods-logs, component kubeconfigs beside the keys
//	2  Pod logs below log/pods, component kubeconfigs below kubeconfig/
const Version = 2

const versionFile = "layout"

// steps[i] brings layout i+1 to i+2. A step may be run again on a directory
// where it was interrupted: the version is written after it.
var steps = []func(Dir) error{
	func(d Dir) error {
		if err := moveDir(d.Path("kubelet", "pods-logs"), d.PodLogs()); err != nil {
			return err
		}
		// The kubeconfigs are written anew at every start; only the old copies
		// must not stay, because they name keys that are renewed elsewhere.
		old, err := filepath.Glob(d.Path("pki", "*.kubeconfig"))
		if err != nil {
			return err
		}
		for _, f := range old {
			if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	},
}

// moveDir renames from to to. It is done when from is gone.
func moveDir(from, to string) error {
	if _, err := os.Lstat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.Rename(from, to)
}

// Prepare makes the directory ready for use: creates what is missing, repairs
// what an interrupted first start left, brings an older layout up to date and
// refuses what it does not know.
func (d Dir) Prepare() error {
	if err := os.MkdirAll(string(d), 0o711); err != nil {
		return d.refuse(err, "choose a directory that you may write with --data-dir, or run as root")
	}
	have, err := d.version()
	if err != nil {
		return err
	}
	for v := have; v < Version; v++ {
		if err := steps[v-1](d); err != nil {
			return d.refuse(fmt.Errorf("bring layout %d to %d: %w", v, v+1, err), "free space or fix permissions and start again: the step is repeated")
		}
		if err := d.setVersion(v + 1); err != nil {
			return d.refuse(err, "check free space and permissions")
		}
	}
	for dir, perm := range map[string]fs.FileMode{
		d.Run(): 0o711, d.PKI(): 0o700, d.Kubeconfigs(): 0o700, d.Etcd(): 0o700,
		d.Log(): 0o755, d.Kubelet(): 0o755, d.Containerd(): 0o711, d.CNI(): 0o755,
		d.Volumes(): 0o711, d.BuildKit(): 0o711, d.PodLogs(): 0o755, d.ContainerLogLinks(): 0o755,
	} {
		if err := os.MkdirAll(dir, perm); err != nil {
			return d.refuse(err, "check free space and permissions")
		}
	}
	return d.sweep()
}

// version reads the layout that is there. A directory without one is new if it
// is empty but for what Prepare and the lock put there before the version.
func (d Dir) version() (int, error) {
	b, err := os.ReadFile(d.Path(versionFile))
	if errors.Is(err, fs.ErrNotExist) {
		foreign, err := d.foreign()
		if err != nil {
			return 0, d.refuse(err, "check permissions")
		}
		if foreign != "" {
			return 0, d.refuse(fmt.Errorf("holds %q but no layout version: it was not made by penstock-node, or its first files are lost", foreign),
				"choose an empty directory with --data-dir, or wipe it with: penstock-node stop --wipe --data-dir "+string(d))
		}
		return Version, d.setVersion(Version)
	}
	if err != nil {
		return 0, d.refuse(err, "check permissions")
	}
	v, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || v < 1 {
		return 0, d.refuse(fmt.Errorf("its layout version %.20q is not a number", b), "restore the file "+d.Path(versionFile)+" or wipe the directory")
	}
	if v > Version {
		return 0, d.refuse(fmt.Errorf("has layout %d, this penstock-node knows layouts up to %d", v, Version), "start it with the newer penstock-node that wrote it")
	}
	return v, nil
}

func (d Dir) setVersion(v int) error {
	return WriteFile(d.Path(versionFile), []byte(strconv.Itoa(v)+"\n"), 0o644)
}

// foreign names an entry that a first start does not create before the layout
// version, or "".
func (d Dir) foreign() (string, error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		switch name := e.Name(); {
		case name == "lock", name == "run", strings.HasPrefix(name, "."):
		default:
			return name, nil
		}
	}
	return "", nil
}

// sweep removes what interrupted writes left behind.
func (d Dir) sweep() error {
	for _, dir := range []string{string(d), d.PKI(), d.Kubeconfigs(), d.Run()} {
		old, err := filepath.Glob(filepath.Join(dir, ".*.tmp"))
		if err != nil {
			return err
		}
		for _, f := range old {
			if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return d.refuse(err, "check permissions")
			}
		}
	}
	return nil
}

func (d Dir) refuse(err error, hint string) error {
	return &fault.Error{Op: "prepare the data directory", Subject: string(d), Hint: hint, Err: err}
}
