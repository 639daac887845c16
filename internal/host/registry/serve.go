package registry

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/registry/storage"
)

// mirrorPrefix begins the names of repositories that stand for those of other
// registries: mirror/docker.io/library/busybox.
const mirrorPrefix = "mirror/"

// request is a request that may do what it asks for.
type request struct {
	*http.Request
	route
	user User
	view string // of the repository's tags, which the user sees
	// fetch says that the repository is a copy of another registry's.
	fetch bool
}

// ServeHTTP serves /v2/.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	user, err := s.access.Identify(r)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	q, err := s.admit(w, r, user)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	if err := s.do(w, q); err != nil {
		s.refuse(w, r, err)
	}
}

// admit finds out what r asks for and refuses what user may not do.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, user User) (*request, error) {
	if strings.Contains(strings.ToLower(r.URL.EscapedPath()), "%2f") {
		return nil, errNoRoute // no part of a path has a slash of its own
	}
	rt, err := parseRoute(r.URL.Path)
	if err != nil {
		return nil, err
	}
	q := &request{Request: r, route: rt, user: user}
	if !slices.Contains(methods[rt.kind], r.Method) {
		w.Header().Set("Allow", strings.Join(methods[rt.kind], ", "))
		return nil, errMethod
	}
	if rt.kind == kindBase {
		return q, nil
	}
	if err := s.locate(w, q); err != nil {
		return nil, err
	}
	write := r.Method != http.MethodGet && r.Method != http.MethodHead || rt.kind == kindUpload
	switch {
	case q.fetch && write:
		return nil, errReadOnly
	case q.fetch: // whoever may come in may read what is public elsewhere
	case !user.May(q.repo, write):
		verb := "read"
		if write {
			verb = "write"
		}
		return nil, fmt.Errorf("%s may not %s %s: %w", user.Name, verb, q.repo, problem.ErrForbidden)
	}
	if s.quarantine != nil && !q.fetch {
		if q.view = s.quarantine.View(user.Name, q.repo); q.view != "" {
			return q, storage.CheckView(q.view)
		}
	}
	return q, nil
}

// locate finds the repository that a name stands for: its own, or that of a
// name in another registry. Clients name the other registry in the parameter
// ns, or before the name below mirror/.
func (s *Server) locate(w http.ResponseWriter, q *request) error {
	name := ""
	if ns := q.URL.Query().Get("ns"); ns != "" && !s.names[ns] {
		name = ns + "/" + q.repo
		w.Header().Set("OCI-Namespace", ns)
	} else if rest, ok := strings.CutPrefix(q.repo, mirrorPrefix); ok {
		name = rest
	}
	if name == "" {
		return nil
	}
	if s.outside == nil {
		return fmt.Errorf("%w: other registries are not served here", problem.ErrForbidden)
	}
	var err error
	q.repo, q.fetch, err = s.outside.Lookup(name)
	return err
}

func (s *Server) do(w http.ResponseWriter, q *request) error {
	switch q.kind {
	case kindBase:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte("{}")) // the client is gone; there is nobody to tell
		return nil
	case kindManifest:
		return s.manifest(w, q)
	case kindBlob:
		return s.blob(w, q)
	case kindUploads:
		return s.startUpload(w, q)
	case kindUpload:
		return s.upload(w, q)
	case kindTags:
		return s.tags(w, q)
	case kindReferrers:
		return s.referrers(w, q)
	}
	return errNoRoute
}
