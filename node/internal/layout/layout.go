// Package layout knows the node's data directory: where each file is, which
// version of the layout it has, how an older one is brought up to date, and
// that only one process works on it at a time.
package layout

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
)

// Dir is a data directory. The methods name what is inside.
type Dir string

// maxSocketPath is the longest path that the kernel accepts for a unix socket
// (sun_path, less the final zero).
const maxSocketPath = 107

// Open returns the absolute directory for path and refuses one whose sockets
// could not be created.
func Open(path string) (Dir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("find the data directory: %w", err)
	}
	d := Dir(abs)
	// containerd appends ".ttrpc" to its socket's name: the longest there is.
	if n := len(d.ContainerdSocket() + ".ttrpc"); n > maxSocketPath {
		return "", fmt.Errorf("data directory %s: its path is %d characters too long for unix sockets", abs, n-maxSocketPath)
	}
	return d, nil
}

// Path joins elem to the directory.
func (d Dir) Path(elem ...string) string {
	return filepath.Join(append([]string{string(d)}, elem...)...)
}

// ID tells this directory's node from others on the same machine: a short hash
// of the path, used in names that the whole machine shares.
func (d Dir) ID() string {
	sum := sha256.Sum256([]byte(d))
	return hex.EncodeToString(sum[:4])
}

// Run and the following name the parts of the directory.
func (d Dir) Run() string               { return d.Path("run") }
func (d Dir) PKI() string               { return d.Path("pki") }
func (d Dir) Log() string               { return d.Path("log") }
func (d Dir) Etcd() string              { return d.Path("etcd") }
func (d Dir) Kubelet() string           { return d.Path("kubelet") }
func (d Dir) Containerd() string        { return d.Path("containerd") }
func (d Dir) CNI() string               { return d.Path("cni") }
func (d Dir) Volumes() string           { return d.Path("volumes") }
func (d Dir) BuildKit() string          { return d.Path("buildkit") }
func (d Dir) Registry() string          { return d.Path("registry") }
func (d Dir) Kubeconfigs() string       { return d.Path("kubeconfig") }
func (d Dir) AdminKubeconfig() string   { return d.Path("admin.kubeconfig") }
func (d Dir) ControlSocket() string     { return d.Path("run", "control.sock") }
func (d Dir) EtcdSocket() string        { return d.Path("run", "etcd.sock") }
func (d Dir) EtcdPeerSocket() string    { return d.Path("run", "etcd-peer.sock") }
func (d Dir) ContainerdSocket() string  { return d.Path("run", "containerd.sock") }
func (d Dir) ContainerdState() string   { return d.Path("run", "containerd") }
func (d Dir) ContainerdPID() string     { return d.Path("run", "containerd.pid") }
func (d Dir) BuildKitSocket() string    { return d.Path("run", "buildkitd.sock") }
func (d Dir) PodLogs() string           { return d.Path("log", "pods") }
func (d Dir) ContainerLogLinks() string { return d.Path("log", "containers") }

// CgroupRoot is the cgroup, below each hierarchy's root, that holds all Pods
// of this node.
func (d Dir) CgroupRoot() string { return "/penstock-" + d.ID() }
