package registry_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	upstream "github.com/google/go-containerregistry/pkg/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/penstock-dev/penstock/internal/host/registry"
	"github.com/penstock-dev/penstock/internal/host/registry/outside"
	"github.com/penstock-dev/penstock/internal/host/registry/storage"
)

// other is a registry of others, which counts its requests and can be away.
type other struct {
	*world
	away     atomic.Bool
	status   atomic.Int64 // answered instead, if not 0
	requests atomic.Int64
}

func startOther(t *testing.T) *other {
	t.Helper()
	o := &other{}
	h := upstream.New(upstream.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" {
			o.requests.Add(1)
		}
		if o.away.Load() {
			c, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				c.Close()
			}
			return
		}
		if s := o.status.Load(); s != 0 {
			http.Error(w, "no", int(s))
			return
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	o.world = &world{t: t, url: srv.URL}
	return o
}

// clock is the time of the registry that mirrors.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time      { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *clock) add(d time.Duration) { c.offset.Add(int64(d)) }

// mirroring starts a registry that mirrors o as example.com.
func mirroring(t *testing.T, o *other) (*world, *outside.Registry, *clock) {
	t.Helper()
	var out *outside.Registry
	c := &clock{}
	dir := t.TempDir()
	w := startIn(t, dir, func(ro *registry.Options, _ *storage.Options) {
		s, err := storage.Open(dir, storage.Options{})
		if err != nil {
			t.Fatal(err)
		}
		out, err = outside.New(outside.Options{Store: s, AliasFile: filepath.Join(dir, "aliases.json"), Mirrors: map[string]string{"example.com": o.url}, Now: c.now})
		if err != nil {
			t.Fatal(err)
		}
		ro.Outside = out
	})
	return w, out, c
}

func TestMirrorFetchesOnceAndServesWithoutANetwork(t *testing.T) {
	o := startOther(t)
	w, _, c := mirroring(t, o)
	data := o.image("team/app", "first")
	d := o.pushManifest("team/app", "v1", data)
	o.requests.Store(0)

	get := func(path string, status int) answer {
		t.Helper()
		return w.want(w.do("GET", path, nil), status)
	}
	// As containerd and BuildKit ask: at the mirror, with the other's name.
	a := get("/v2/team/app/manifests/v1?ns=example.com", 200)
	if string(a.body) != string(data) {
		t.Errorf("got %s", a.body)
	}
	w.wantHeader(a, "OCI-Namespace", "example.com")
	w.wantHeader(a, "Content-Type", ocispec.MediaTypeImageManifest)
	// The same by the name that it has here.
	get("/v2/mirror/example.com/team/app/manifests/v1", 200)
	get("/v2/mirror/example.com/team/app/manifests/"+d.Digest.String(), 200)
	if n := o.requests.Load(); n != 1 {
		t.Errorf("%d requests for one manifest", n)
	}
	blob := blobOf("first")
	if a := get("/v2/team/app/blobs/"+blob+"?ns=example.com", 200); string(a.body) != "first" {
		t.Errorf("blob %q", a.body)
	}
	get("/v2/mirror/example.com/team/app/blobs/"+blob, 200)
	if a := w.want(w.do("GET", "/v2/team/app/blobs/"+blob+"?ns=example.com", nil, "Range", "bytes=1-3"), 206); string(a.body) != "irs" {
		t.Errorf("range %q", a.body)
	}

	// After a while it asks whether the tag has moved: first it has not.
	before := o.requests.Load()
	c.add(2 * time.Minute)
	get("/v2/team/app/manifests/v1?ns=example.com", 200)
	get("/v2/team/app/manifests/v1?ns=example.com", 200)
	if n := o.requests.Load() - before; n != 1 {
		t.Errorf("%d requests to compare once", n)
	}
	moved := o.pushManifest("team/app", "v1", o.image("team/app", "second"))
	c.add(2 * time.Minute)
	w.wantHeader(get("/v2/team/app/manifests/v1?ns=example.com", 200), "Docker-Content-Digest", moved.Digest.String())

	// The network goes. What is here stays, with a warning; what is not, is
	// told so at once.
	o.away.Store(true)
	c.add(2 * time.Minute)
	a = get("/v2/team/app/manifests/v1?ns=example.com", 200)
	w.wantHeader(a, "Docker-Content-Digest", moved.Digest.String())
	if got := a.Header.Get("Warning"); !strings.HasPrefix(got, `299 - "`) {
		t.Errorf("warning %q", got)
	}
	before = o.requests.Load()
	get("/v2/team/app/manifests/v1?ns=example.com", 200)
	w.want(w.do("GET", "/v2/team/app/manifests/v2?ns=example.com", nil), 502, "UNKNOWN")
	w.want(w.do("GET", "/v2/team/app/blobs/"+blobOf("second")+"?ns=example.com", nil), 502, "UNKNOWN")
	if n := o.requests.Load() - before; n != 0 {
		t.Errorf("%d requests to a registry that is down", n)
	}
	get("/v2/team/app/blobs/"+blob+"?ns=example.com", 200)
	get("/v2/team/app/manifests/"+d.Digest.String()+"?ns=example.com", 200)

	// It comes back.
	o.away.Store(false)
	c.add(time.Minute)
	a = get("/v2/team/app/manifests/v1?ns=example.com", 200)
	w.wantHeader(a, "Warning", "")
	get("/v2/team/app/blobs/"+blobOf("second")+"?ns=example.com", 200)
}

func TestMirrorTellsWhatTheOtherSays(t *testing.T) {
	o := startOther(t)
	w, _, c := mirroring(t, o)
	o.pushManifest("team/app", "v1", o.image("team/app", "content"))
	w.want(w.do("GET", "/v2/team/app/manifests/none?ns=example.com", nil), 404, "MANIFEST_UNKNOWN")
	w.want(w.do("GET", "/v2/team/none/manifests/v1?ns=example.com", nil), 404, "MANIFEST_UNKNOWN")
	w.want(w.do("GET", "/v2/team/app/manifests/"+never+"?ns=example.com", nil), 404, "MANIFEST_UNKNOWN")
	w.want(w.do("GET", "/v2/team/app/blobs/"+never+"?ns=example.com", nil), 404, "BLOB_UNKNOWN")
	w.want(w.do("GET", "/v2/team/app/manifests/v1?ns=unknown.example", nil), 404, "NAME_UNKNOWN")
	w.want(w.do("GET", "/v2/team/app/manifests/v1?ns=a%20b", nil), 400, "NAME_INVALID")
	w.want(w.do("GET", "/v2/team/app/manifests/v1?ns=example.com/..", nil), 400, "NAME_INVALID")
	// Too many requests is not the end of a copy.
	w.want(w.do("GET", "/v2/team/app/manifests/v1?ns=example.com", nil), 200)
	c.add(2 * time.Minute)
	o.status.Store(429)
	if a := w.want(w.do("GET", "/v2/team/app/manifests/v1?ns=example.com", nil), 200); a.Header.Get("Warning") == "" {
		t.Error("no warning")
	}
	// Nobody writes to a copy, and nobody reads without a token.
	for _, path := range []string{"/v2/team/app/blobs/uploads/?ns=example.com", "/v2/mirror/example.com/team/app/blobs/uploads/"} {
		w.want(w.do("POST", path, nil), 405, "UNSUPPORTED")
	}
	w.want(w.do("DELETE", "/v2/mirror/example.com/team/app/manifests/v1", nil), 405, "UNSUPPORTED")
	w.want(w.as("").do("GET", "/v2/team/app/manifests/v1?ns=example.com", nil), 401, "UNAUTHORIZED")
	w.want(w.as("read:demo").do("GET", "/v2/team/app/manifests/v1?ns=example.com", nil), 200)
}

// TestAliasStandsForAHostedRepository shows that its rights are those of the
// repository.
func TestAliasStandsForAHostedRepository(t *testing.T) {
	o := startOther(t)
	w, out, _ := mirroring(t, o)
	d := w.pushManifest("demo/busybox", "1", w.image("demo/busybox", "ours"))
	for _, a := range []outside.Alias{{Name: "docker.io/busybox", Repository: "demo/busybox"}, {Name: "ghcr.io/my-org/*", Repository: "demo/*"}} {
		if _, err := out.SetAlias(a); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{
		"/v2/library/busybox/manifests/1?ns=docker.io", "/v2/my-org/busybox/manifests/1?ns=ghcr.io",
		"/v2/mirror/docker.io/library/busybox/manifests/1", "/v2/demo/busybox/manifests/1?ns=penstock.localhost:7080",
	} {
		a := w.want(w.do("GET", path, nil), 200)
		w.wantHeader(a, "Docker-Content-Digest", d.Digest.String())
		w.as("read:demo").want(w.as("read:demo").do("GET", path, nil), 200)
		w.want(w.as("read:other").do("GET", path, nil), 403, "DENIED")
	}
	w.want(w.do("GET", "/v2/library/busybox/manifests/2?ns=docker.io", nil), 404, "MANIFEST_UNKNOWN")
	// Pushing to the name pushes to the repository.
	blob := w.do("POST", "/v2/my-org/busybox/blobs/uploads/?ns=ghcr.io&digest="+never, nil)
	w.want(blob, 201)
	w.wantHeader(blob, "Location", "/v2/demo/busybox/blobs/"+never)
	if n := o.requests.Load(); n != 0 {
		t.Errorf("the other registry got %d requests", n)
	}
}

// TestMirrorFetchesForManyAtOnce counts what the other registry is asked.
func TestMirrorFetchesForManyAtOnce(t *testing.T) {
	o := startOther(t)
	w, _, _ := mirroring(t, o)
	o.pushManifest("team/app", "v1", o.image("team/app", strings.Repeat("layer", 100_000)))
	o.requests.Store(0)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for _, path := range []string{"manifests/v1", "blobs/" + blobOf(strings.Repeat("layer", 100_000))} {
				if a := w.do("GET", "/v2/team/app/"+path+"?ns=example.com", nil); a.StatusCode != 200 {
					t.Errorf("%s: %s", path, a.Status)
				}
			}
		})
	}
	wg.Wait()
	if n := o.requests.Load(); n != 2 {
		t.Errorf("%d requests for a manifest and a blob", n)
	}
}
