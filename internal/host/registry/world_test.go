package registry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/registry"
	"github.com/penstock-dev/penstock/internal/host/registry/storage"
)

// access knows tokens: "all" may do everything, "read:demo" may read what is
// below demo/, "write:demo" may write it too.
type access struct{}

func (access) Identify(r *http.Request) (registry.User, error) {
	_, token, _ := r.BasicAuth()
	if t, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		token = t
	}
	verb, owner, _ := strings.Cut(token, ":")
	switch verb {
	case "all":
		return registry.User{Name: "admin", May: func(string, bool) bool { return true }}, nil
	case "read", "write":
		return registry.User{Name: token, May: func(repo string, write bool) bool {
			return strings.HasPrefix(repo, owner+"/") && (!write || verb == "write")
		}}, nil
	case "slow":
		return registry.User{}, throttled{}
	}
	return registry.User{}, fmt.Errorf("no token: %w", problem.ErrUnauthenticated)
}

type throttled struct{}

func (throttled) Error() string             { return "too many attempts" }
func (throttled) RetryAfter() time.Duration { return 1500 * time.Millisecond }

// world is a registry that a test talks to.
type world struct {
	t     *testing.T
	url   string
	token string
	store *storage.Store
	log   *bytes.Buffer // of the server; read it when no request is under way
}

func start(t *testing.T, change ...func(*registry.Options, *storage.Options)) *world {
	t.Helper()
	return startIn(t, t.TempDir(), change...)
}

func startIn(t *testing.T, dir string, change ...func(*registry.Options, *storage.Options)) *world {
	t.Helper()
	w := &world{t: t, token: "all", log: &bytes.Buffer{}}
	o := registry.Options{Access: access{}, Names: []string{"penstock.localhost:7080"}, Log: slog.New(slog.NewTextHandler(w.log, nil))}
	var so storage.Options
	for _, c := range change {
		c(&o, &so)
	}
	var err error
	if w.store, err = storage.Open(dir, so); err != nil {
		t.Fatal(err)
	}
	o.Store = w.store
	srv := httptest.NewServer(registry.New(o))
	t.Cleanup(srv.Close)
	w.url = srv.URL
	return w
}

// as is the same registry for another user.
func (w *world) as(token string) *world {
	c := *w
	c.token = token
	return &c
}

// answer is a response whose body was read.
type answer struct {
	*http.Response
	body []byte
}

// header is a key and a value, in turn.
func (w *world) do(method, path string, body any, header ...string) answer {
	w.t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = w.url + path
	}
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		r = bytes.NewReader(b)
	case string:
		r = strings.NewReader(b)
	case io.Reader:
		r = b
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	w.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, method, path, r)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.token != "" {
		req.Header.Set("Authorization", "Bearer "+w.token)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{resp, b}
}

// want checks the status and, for errors, the code; and the format of errors.
func (w *world) want(a answer, status int, code ...string) answer {
	w.t.Helper()
	if a.StatusCode != status {
		w.t.Fatalf("%s %s: %s, want %d: %s", a.Request.Method, a.Request.URL, a.Status, status, a.body)
	}
	if len(code) == 0 {
		return a
	}
	var e struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.Unmarshal(a.body, &e); err != nil || len(e.Errors) == 0 {
		w.t.Fatalf("%s %s: the error is %s", a.Request.Method, a.Request.URL, a.body)
	}
	if got := e.Errors[0].Code; got != code[0] {
		w.t.Errorf("%s %s: code %s, want %s: %s", a.Request.Method, a.Request.URL, got, code[0], a.body)
	}
	if e.Errors[0].Message == "" {
		w.t.Errorf("%s %s: no message: %s", a.Request.Method, a.Request.URL, a.body)
	}
	if ct := a.Header.Get("Content-Type"); ct != "application/json" {
		w.t.Errorf("%s %s: error of type %s", a.Request.Method, a.Request.URL, ct)
	}
	return a
}

func (w *world) wantHeader(a answer, key, want string) {
	w.t.Helper()
	if got := a.Header.Get(key); got != want {
		w.t.Errorf("%s %s: %s is %q, want %q", a.Request.Method, a.Request.URL, key, got, want)
	}
}

// pushBlob pushes data and returns its descriptor.
func (w *world) pushBlob(repo string, data []byte) ocispec.Descriptor {
	w.t.Helper()
	d := digest.FromBytes(data)
	w.want(w.do("POST", "/v2/"+repo+"/blobs/uploads/?digest="+d.String(), data), 201)
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: d, Size: int64(len(data))}
}

// image makes a manifest whose blobs are pushed.
func (w *world) image(repo, content string, change ...func(*ocispec.Manifest)) []byte {
	w.t.Helper()
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest}
	m.SchemaVersion = 2
	m.Config = w.pushBlob(repo, []byte(`{"of":"`+content+`"}`))
	m.Config.MediaType = ocispec.MediaTypeImageConfig
	m.Layers = []ocispec.Descriptor{w.pushBlob(repo, []byte(content))}
	for _, c := range change {
		c(&m)
	}
	return marshal(w.t, m)
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// pushManifest pushes data under reference and returns its descriptor.
func (w *world) pushManifest(repo, reference string, data []byte) ocispec.Descriptor {
	w.t.Helper()
	var m struct{ MediaType string }
	_ = json.Unmarshal(data, &m)
	a := w.want(w.do("PUT", "/v2/"+repo+"/manifests/"+reference, data, "Content-Type", m.MediaType), 201)
	return ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.Digest(a.Header.Get("Docker-Content-Digest")), Size: int64(len(data))}
}

func blobOf(content string) string { return digest.FromString(content).String() }
