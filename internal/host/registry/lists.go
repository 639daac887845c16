package registry

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/penstock-dev/penstock/internal/host/registry/storage"
)

// maxTags bounds one page of tags, whatever the client asks for.
const maxTags = 10000

// tags lists the tags of a repository.
func (s *Server) tags(w http.ResponseWriter, q *request) error {
	n, last, err := parsePage(q.URL.Query())
	if err != nil {
		return err
	}
	if !s.store.Exists(q.repo) {
		return fmt.Errorf("%w: %s", storage.ErrNameUnknown, q.repo)
	}
	all, err := s.store.Tags(q.repo, q.view)
	if err != nil {
		return err
	}
	page, more := cutPage(all, n, last)
	if more {
		next := url.Values{"n": {strconv.Itoa(len(page))}, "last": {page[len(page)-1]}}
		link(w, q, next)
	}
	return write(w, q, "application/json", map[string]any{"name": q.repo, "tags": page})
}

// parsePage reads the parameters n and last of a list.
func parsePage(query url.Values) (n int, last string, err error) {
	n = maxTags
	if text := query.Get("n"); text != "" {
		if n, err = strconv.Atoi(text); err != nil || n < 0 {
			return 0, "", errPageSize
		}
	}
	return min(n, maxTags), query.Get("last"), nil
}

// cutPage returns up to n entries of a sorted list after last, which need not
// be in it, and whether there are more. Zero entries never have more.
func cutPage(all []string, n int, last string) (page []string, more bool) {
	i := 0
	if last != "" {
		var found bool
		if i, found = slices.BinarySearch(all, last); found {
			i++
		}
	}
	rest := all[i:]
	page = append([]string{}, rest[:min(n, len(rest))]...)
	return page, len(page) > 0 && len(rest) > len(page)
}

// link points to the next page of a list.
func link(w http.ResponseWriter, q *request, next url.Values) {
	w.Header().Set("Link", fmt.Sprintf("<%s?%s>; rel=\"next\"", q.URL.EscapedPath(), next.Encode()))
}

func write(w http.ResponseWriter, q *request, contentType string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(http.StatusOK)
	if q.Method != http.MethodHead {
		_, _ = w.Write(b) // the client is gone; there is nobody to tell
	}
	return nil
}

// referrers lists the manifests whose subject is a given one, which need not
// be there.
func (s *Server) referrers(w http.ResponseWriter, q *request) error {
	d, err := storage.ParseDigest(q.arg)
	if err != nil {
		return err
	}
	all, err := s.store.Referrers(q.repo, d)
	if err != nil {
		return err
	}
	query := q.URL.Query()
	next := url.Values{}
	if t := query.Get("artifactType"); t != "" {
		all = slices.DeleteFunc(all, func(d ocispec.Descriptor) bool { return d.ArtifactType != t })
		w.Header().Set("OCI-Filters-Applied", "artifactType")
		next.Set("artifactType", t)
	}
	page, more := cutDescriptors(all, query.Get("last"), maxReferrers)
	if more {
		next.Set("last", page[len(page)-1].Digest.String())
		link(w, q, next)
	}
	idx := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: page}
	idx.SchemaVersion = 2
	return write(w, q, ocispec.MediaTypeImageIndex, idx)
}

// maxReferrers is how large a page of referrers may become. Clients take
// manifests of four megabytes.
const maxReferrers = 3 << 20

// cutDescriptors returns the descriptors after the one called last, as many as
// fit in limit bytes, but at least one.
func cutDescriptors(all []ocispec.Descriptor, last string, limit int) (page []ocispec.Descriptor, more bool) {
	if last != "" {
		if i := slices.IndexFunc(all, func(d ocispec.Descriptor) bool { return d.Digest.String() > last }); i >= 0 {
			all = all[i:]
		} else {
			all = nil
		}
	}
	page = []ocispec.Descriptor{}
	for _, d := range all {
		b, err := json.Marshal(d)
		if err == nil {
			limit -= len(b) + 1
		}
		if limit < 0 && len(page) > 0 {
			return page, true
		}
		page = append(page, d)
	}
	return page, false
}
