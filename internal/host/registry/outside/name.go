package outside

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/penstock-dev/penstock/internal/host/registry/storage"
)

// outsideName is a repository of another registry.
type outsideName struct {
	host string // docker.io, localhost:5000
	path string // library/busybox
}

func (n outsideName) String() string { return n.host + "/" + n.path }

// repository is the name under which its content is kept here. A repository's
// name has no colon, and a host's no underscore.
func (n outsideName) repository() string {
	return Prefix + strings.Replace(n.host, ":", "_", 1) + "/" + n.path
}

var hostForm = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?(?:[:_][0-9]{1,5})?$`)

// parseName reads a name with its host first. Docker's registry has several,
// and a part that may be left out.
func parseName(full string) (outsideName, error) {
	host, path, _ := strings.Cut(full, "/")
	if !hostForm.MatchString(host) || path == "" {
		return outsideName{}, fmt.Errorf("%w: %q is not of the form HOST/NAME", storage.ErrNameInvalid, full)
	}
	if err := storage.CheckName(path); err != nil {
		return outsideName{}, err
	}
	host = strings.Replace(host, "_", ":", 1)
	switch host {
	case "docker.io", "index.docker.io", "registry-1.docker.io":
		host = "docker.io"
		if !strings.Contains(path, "/") {
			path = "library/" + path
		}
	}
	return outsideName{host, path}, nil
}

// parseRepository is the way back from outsideName.repository.
func parseRepository(repo string) (outsideName, error) {
	rest, ok := strings.CutPrefix(repo, Prefix)
	if !ok {
		return outsideName{}, fmt.Errorf("%w: %q is not a copy of another registry's", storage.ErrNameInvalid, repo)
	}
	return parseName(rest)
}
