package registry

import (
	"net/http"
	"strings"

	"github.com/penstock-dev/penstock/internal/host/registry/storage"
)

// kind is what a path names.
type kind int

const (
	kindBase kind = iota
	kindManifest
	kindBlob
	kindUploads // where an upload begins
	kindUpload
	kindTags
	kindReferrers
)

// methods are those of each kind.
var methods = map[kind][]string{
	kindBase:      {http.MethodGet, http.MethodHead},
	kindManifest:  {http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete},
	kindBlob:      {http.MethodGet, http.MethodHead, http.MethodDelete},
	kindUploads:   {http.MethodPost},
	kindUpload:    {http.MethodGet, http.MethodPatch, http.MethodPut, http.MethodDelete},
	kindTags:      {http.MethodGet, http.MethodHead},
	kindReferrers: {http.MethodGet, http.MethodHead},
}

// route is what a request asks for. repo is a valid name; arg is a tag, a
// digest or an upload, as it came.
type route struct {
	kind kind
	repo string
	arg  string
}

// parseRoute reads the path of a request. Names of repositories have slashes,
// and may have parts like "manifests", so the path is read from its end.
func parseRoute(path string) (route, error) {
	rest, ok := strings.CutPrefix(path, "/v2/")
	if !ok {
		return route{}, errNoRoute
	}
	if rest == "" {
		return route{kind: kindBase}, nil
	}
	r := route{}
	dir, last := cutLast(rest)
	switch {
	case strings.HasSuffix(rest, "/blobs/uploads/"):
		r = route{kindUploads, strings.TrimSuffix(rest, "/blobs/uploads/"), ""}
	case strings.HasSuffix(rest, "/blobs/uploads"):
		r = route{kindUploads, strings.TrimSuffix(rest, "/blobs/uploads"), ""}
	case strings.HasSuffix(rest, "/tags/list"):
		r = route{kindTags, strings.TrimSuffix(rest, "/tags/list"), ""}
	case last == "":
		return route{}, errNoRoute
	case strings.HasSuffix(dir, "/blobs/uploads"):
		r = route{kindUpload, strings.TrimSuffix(dir, "/blobs/uploads"), last}
	case strings.HasSuffix(dir, "/blobs"):
		r = route{kindBlob, strings.TrimSuffix(dir, "/blobs"), last}
	case strings.HasSuffix(dir, "/manifests"):
		r = route{kindManifest, strings.TrimSuffix(dir, "/manifests"), last}
	case strings.HasSuffix(dir, "/referrers"):
		r = route{kindReferrers, strings.TrimSuffix(dir, "/referrers"), last}
	default:
		return route{}, errNoRoute
	}
	return r, storage.CheckName(r.repo)
}

func cutLast(path string) (dir, last string) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}
