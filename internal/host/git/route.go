package git

import (
	"net/http"
	"strings"
)

// service is one of git's two programs behind smart HTTP.
type service string

const (
	uploadPack  service = "git-upload-pack"  // clone and fetch
	receivePack service = "git-receive-pack" // push
)

// route is what a request under /git/ asks for.
type route struct {
	repo    string // "owner/name", a valid name
	service service
	refs    bool // the list of refs that begins every exchange
}

// parseRoute reads the decoded path and the query of a request. Anything but
// the three requests of smart HTTP is not served: no dumb protocol, no files.
func parseRoute(method, path, query string) (r route, code int) {
	rest, ok := strings.CutPrefix(path, "/git/")
	if !ok {
		return route{}, http.StatusNotFound
	}
	parts := strings.SplitN(rest, "/", 3)
	if len(parts) != 3 {
		return route{}, http.StatusNotFound
	}
	r.repo = parts[0] + "/" + strings.TrimSuffix(parts[1], ".git")
	if CheckName(r.repo) != nil {
		return route{}, http.StatusNotFound
	}
	want := http.MethodPost
	switch parts[2] {
	case "info/refs":
		want, r.refs = http.MethodGet, true
		switch query {
		case "service=git-upload-pack":
			r.service = uploadPack
		case "service=git-receive-pack":
			r.service = receivePack
		default:
			return route{}, http.StatusForbidden
		}
	case string(uploadPack), string(receivePack):
		r.service = service(parts[2])
	default:
		return route{}, http.StatusNotFound
	}
	if method != want {
		return route{}, http.StatusMethodNotAllowed
	}
	return r, http.StatusOK
}
