package registry

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/host/registry/storage"
)

// FuzzParseRoute shows that whatever a path is read as stays in the store: the
// name of the repository is valid, and the rest has no slash.
func FuzzParseRoute(f *testing.F) {
	for _, p := range []string{
		"/v2/", "/v2/a/manifests/b", "/v2/a/b/blobs/sha256:00", "/v2/blobs/uploads/blobs/uploads/", "/v2/manifests/manifests/manifests",
		"/v2/../manifests/x", "/v2/a/blobs/uploads/0123456789abcdef0123", "/v2/a/tags/list", "/v2/tags/list/tags/list", "/v2/a/referrers/sha512:11", "/v1/",
	} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, path string) {
		r, err := parseRoute(path)
		if err != nil || r.kind == kindBase {
			return
		}
		if storage.CheckName(r.repo) != nil || strings.Contains(r.repo, "..") || strings.HasPrefix(r.repo, "/") {
			t.Errorf("%q: repository %q", path, r.repo)
		}
		if strings.Contains(r.arg, "/") {
			t.Errorf("%q: argument %q", path, r.arg)
		}
		if r.kind == kindManifest {
			if d, tag, err := reference(r.arg); err == nil && (d == "") == (tag == "") {
				t.Errorf("%q: digest %q, tag %q", r.arg, d, tag)
			}
		}
	})
}

// FuzzParseRange shows that a range is never empty and never runs backwards.
func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"0-0", "0-99", "9-0", "-", "1-", "99999999999999999999-1", "999999999999999999-999999999999999999", "0-9,10-19", "bytes 0-1/2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		start, length, err := parseRange(text)
		if err == nil && (start < 0 || length < 1 || start+length < start) {
			t.Errorf("%q: %d, %d", text, start, length)
		}
	})
}

// FuzzPage shows that pages are parts of the list in order, whatever is asked.
func FuzzPage(f *testing.F) {
	all := []string{"0.1", "V2", "latest", "v1", "v10"}
	for _, q := range []string{"", "n=2", "n=-1", "n=0&last=v1", "last=zzz", "n=99999999999", "n=1&last=%00"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		n, last, err := parsePage(q)
		if err != nil {
			return
		}
		page, more := cutPage(all, n, last)
		if len(page) > n || !slices.IsSorted(page) || more && len(page) == 0 {
			t.Errorf("%q: %v, more %t", query, page, more)
		}
		for _, tag := range page {
			if tag <= last || !slices.Contains(all, tag) {
				t.Errorf("%q: %q is not after %q", query, tag, last)
			}
		}
	})
}

func FuzzMediaType(f *testing.F) {
	for _, s := range []string{"", "a/b", "a/b; c=d", "a/b;", ";", "a b", "application/json\r\nX: y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		if got := mediaType(header); strings.ContainsAny(got, ";\r\n ") {
			t.Errorf("%q: %q", header, got)
		}
	})
}

func FuzzQuoted(f *testing.F) {
	f.Add("a \"b\"\r\nc")
	f.Fuzz(func(t *testing.T, text string) {
		got := quoted(text)
		if len(got) > 1002 || strings.ContainsAny(got[1:len(got)-1], "\"\\\r\n") {
			t.Errorf("%q: %q", text, got)
		}
	})
}
