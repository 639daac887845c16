package registry_test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/penstock-dev/penstock/internal/host/registry"
	"github.com/penstock-dev/penstock/internal/host/registry/storage"
)

// TestEveryRequestNeedsItsRight asks for everything as users who may not.
func TestEveryRequestNeedsItsRight(t *testing.T) {
	w := start(t)
	data := w.image("demo/shop", "mine")
	d := w.pushManifest("demo/shop", "v1", data)
	blob := digest.FromString("mine").String()
	upload := w.do("POST", "/v2/demo/shop/blobs/uploads/", nil).Header.Get("Location")
	for _, r := range []struct {
		method, path string
		write        bool
	}{
		{"GET", "/v2/demo/shop/manifests/v1", false},
		{"HEAD", "/v2/demo/shop/manifests/v1", false},
		{"GET", "/v2/demo/shop/manifests/" + d.Digest.String(), false},
		{"GET", "/v2/demo/shop/blobs/" + blob, false},
		{"HEAD", "/v2/demo/shop/blobs/" + blob, false},
		{"GET", "/v2/demo/shop/tags/list", false},
		{"GET", "/v2/demo/shop/referrers/" + never, false},
		{"PUT", "/v2/demo/shop/manifests/v1", true},
		{"DELETE", "/v2/demo/shop/manifests/v1", true},
		{"DELETE", "/v2/demo/shop/manifests/" + d.Digest.String(), true},
		{"DELETE", "/v2/demo/shop/blobs/" + blob, true},
		{"POST", "/v2/demo/shop/blobs/uploads/", true},
		{"POST", "/v2/demo/shop/blobs/uploads/?digest=" + never, true},
		{"POST", "/v2/demo/shop/blobs/uploads/?mount=" + blob + "&from=demo/shop", true},
		{"GET", upload, true},
		{"PATCH", upload, true},
		{"PUT", upload + "?digest=" + never, true},
		{"DELETE", upload, true},
	} {
		refused := map[string]int{"": 401, "wrong": 401, "slow": 429, "read:other": 403, "write:other": 403}
		if r.write {
			refused["read:demo"] = 403
		}
		for token, status := range refused {
			a := w.as(token).do(r.method, r.path, nil)
			if a.StatusCode != status {
				t.Errorf("%s %s as %q: %s, want %d", r.method, r.path, token, a.Status, status)
			}
			if challenge := a.Header.Get("WWW-Authenticate"); (challenge != "") != (status == 401) {
				t.Errorf("%s %s as %q: challenge %q", r.method, r.path, token, challenge)
			}
			if status == 429 && a.Header.Get("Retry-After") != "2" {
				t.Errorf("retry after %q", a.Header.Get("Retry-After"))
			}
			if strings.Contains(string(a.body), blob) {
				t.Errorf("%s %s as %q tells %s", r.method, r.path, token, a.body)
			}
		}
		if !r.write {
			if a := w.as("read:demo").do(r.method, r.path, nil); a.StatusCode != 200 {
				t.Errorf("%s %s as a reader: %s", r.method, r.path, a.Status)
			}
		}
	}
	w.want(w.do("GET", "/v2/demo/shop/manifests/v1", nil), 200) // nothing of it happened
	w.want(w.do("GET", upload, nil), 204)
}

// TestMountTakesFromWhatMayBeRead keeps a user from taking what only others
// may read by its digest.
func TestMountTakesFromWhatMayBeRead(t *testing.T) {
	w := start(t)
	d := w.pushBlob("secret/thing", []byte("secret")).Digest.String()
	demo := w.as("write:demo")
	for _, query := range []string{"?mount=" + d + "&from=secret/thing", "?mount=" + d} {
		demo.want(demo.do("POST", "/v2/demo/shop/blobs/uploads/"+query, nil), 202)
		demo.want(demo.do("GET", "/v2/demo/shop/blobs/"+d, nil), 404, "BLOB_UNKNOWN")
	}
	both := w.pushBlob("demo/mine", []byte("mine")).Digest.String()
	demo.want(demo.do("POST", "/v2/demo/shop/blobs/uploads/?mount="+both, nil), 201)
}

// TestPathsStayInside sends paths that would leave the store or name what is
// not there.
func TestPathsStayInside(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	if err := os.WriteFile(outside, []byte("not for clients"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := startIn(t, filepath.Join(dir, "store"))
	addr := strings.TrimPrefix(w.url, "http://")
	for _, path := range []string{
		"/v2/../outside", "/v2/demo/../../outside/manifests/v1", "/v2/demo/%2e%2e/manifests/v1", "/v2/demo%2fshop/manifests/v1",
		"/v2/demo/shop/manifests/../../../outside", "/v2/demo/shop/manifests/%2e%2e%2foutside", "/v2/demo/shop/blobs/..%2f..%2foutside",
		"/v2/demo/shop/blobs/sha256:../../outside", "/v2/demo/shop/blobs/uploads/../../../../../outside", "/v2/demo/shop/blobs/uploads/..",
		"/v2/_tags/x/manifests/v1", "/v2/demo/_blobs/sha256/tags/list", "/v2/demo//shop/manifests/v1", "/v2//manifests/v1", "/v2/Demo/shop/manifests/v1",
		"/v2/demo/shop/manifests/", "/v2/demo/shop/blobs/", "/v2/demo/shop", "/v2/demo/shop/unknown/x", "/v2/" + strings.Repeat("a", 201) + "/tags/list",
		"/v2/demo\x00/tags/list", "/v2/.demo/tags/list", "/v2/demo./tags/list", "/v2/demo/shop/referrers/", "/v2/tags/list", "/v2/manifests/x",
	} {
		// Clients clean paths, so this one is none.
		for _, method := range []string{"GET", "PUT", "DELETE", "POST"} {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer all\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", method, path)
			var b bytes.Buffer
			_, _ = b.ReadFrom(conn)
			conn.Close()
			if !strings.HasPrefix(b.String(), "HTTP/1.1 4") {
				t.Errorf("%s %q: %s", method, path, b.String())
			}
			if strings.Contains(b.String(), "not for clients") || strings.Contains(b.String(), dir) {
				t.Errorf("%s %q tells %s", method, path, b.String())
			}
		}
	}
	if b, err := os.ReadFile(outside); err != nil || string(b) != "not for clients" {
		t.Errorf("the file outside: %q, %v", b, err)
	}
	if repos, err := w.store.Repositories(); err != nil || len(repos) != 0 {
		t.Errorf("repositories %v, %v", repos, err)
	}
}

// TestLimits shows that blobs and uploads have one.
func TestLimits(t *testing.T) {
	w := start(t, func(_ *registry.Options, o *storage.Options) { o.MaxBlob, o.MaxUploads = 1000, 3 })
	large := bytes.Repeat([]byte("x"), 1001)
	url := "/v2/demo/shop/blobs/uploads/"
	w.want(w.do("POST", url+"?digest="+digest.FromBytes(large).String(), large), 413, "SIZE_INVALID")
	w.want(w.do("POST", url+"?digest="+digest.FromBytes(large).String(), struct{ *bytes.Reader }{bytes.NewReader(large)}), 413, "SIZE_INVALID")
	loc := w.want(w.do("POST", url, nil), 202).Header.Get("Location")
	w.want(w.do("PATCH", loc, large[:600]), 202)
	w.want(w.do("PATCH", loc, large[:600]), 413, "SIZE_INVALID")
	w.want(w.do("PATCH", loc, struct{ *bytes.Reader }{bytes.NewReader(large[:600])}), 413, "SIZE_INVALID")
	w.wantHeader(w.do("GET", loc, nil), "Range", "0-599")
	w.want(w.do("PATCH", loc, large[:400]), 202)
	w.want(w.do("PUT", loc+"?digest="+digest.FromBytes(large[:1000]).String(), nil), 201)

	var open []string
	for range 3 {
		open = append(open, w.want(w.do("POST", url, nil), 202).Header.Get("Location"))
	}
	a := w.want(w.do("POST", url, nil), 429, "TOOMANYREQUESTS")
	if a.Header.Get("Retry-After") == "" {
		t.Error("nothing says when to come again")
	}
	w.want(w.do("DELETE", open[0], nil), 204)
	w.want(w.do("POST", url, nil), 202)
}

func TestMethodsThatAreNotServed(t *testing.T) {
	w := start(t)
	for path, methods := range map[string][]string{
		"/v2/":                             {"POST", "PUT", "DELETE", "PATCH"},
		"/v2/demo/shop/manifests/v1":       {"POST", "PATCH"},
		"/v2/demo/shop/blobs/" + never:     {"POST", "PUT", "PATCH"},
		"/v2/demo/shop/blobs/uploads/":     {"GET", "PUT", "DELETE"},
		"/v2/demo/shop/blobs/uploads/x":    {"POST", "HEAD"},
		"/v2/demo/shop/tags/list":          {"POST", "PUT", "DELETE"},
		"/v2/demo/shop/referrers/" + never: {"POST", "PUT", "DELETE"},
	} {
		for _, m := range methods {
			if a := w.do(m, path, nil); a.StatusCode != http.StatusMethodNotAllowed || a.Header.Get("Allow") == "" {
				t.Errorf("%s %s: %s, Allow %q", m, path, a.Status, a.Header.Get("Allow"))
			}
		}
	}
}
