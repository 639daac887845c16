package kubelet

import (
	"path/filepath"
	"strings"

	"k8s.io/kubernetes/pkg/kubelet/container"
)

// links puts the links to container logs, for which upstream has a fixed place
// that all nodes of a machine would share, into a directory of our own.
type links struct {
	container.RealOS
	dir string
}

const upstreamLinks = "/var/log/containers"

func (l links) at(path string) string {
	if rest, ok := strings.CutPrefix(path, upstreamLinks); ok && (rest == "" || rest[0] == filepath.Separator) {
		return l.dir + rest
	}
	return path
}

// Symlink implements container.OSInterface.
func (l links) Symlink(oldname, newname string) error {
	return l.RealOS.Symlink(oldname, l.at(newname))
}

// Remove implements container.OSInterface.
func (l links) Remove(path string) error { return l.RealOS.Remove(l.at(path)) }

// Glob implements container.OSInterface.
func (l links) Glob(pattern string) ([]string, error) { return l.RealOS.Glob(l.at(pattern)) }
