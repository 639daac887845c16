//go:build linux

package app

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/penstock-dev/penstock/internal/supply/build/buildtest"
	"github.com/penstock-dev/penstock/test/console"
)

// TestBuildDocs runs the examples of docs/build.md that need an image builder
// and no cluster: blocks marked "console builder".
func TestBuildDocs(t *testing.T) {
	if _, err := os.Stat("/bin/busybox"); err != nil {
		t.Skip("the examples need busybox-static")
	}
	const doc = "../../docs/build.md"
	b, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	examples := console.Examples(string(b), "console builder")
	if len(examples) == 0 {
		t.Fatal("no examples found")
	}
	dir := t.TempDir()
	run := filepath.Join(dir, "data/node/run")
	if err := os.MkdirAll(run, 0o700); err != nil {
		t.Fatal(err)
	}
	srv := buildtest.Start(t)
	if err := os.Symlink(srv.Socket, filepath.Join(run, "buildkitd.sock")); err != nil {
		t.Fatal(err)
	}
	node := &imageTaker{}
	node.serve(t, filepath.Join(run, "control.sock"))
	for _, e := range examples {
		runExample(t, doc, dir, e)
	}
	for _, name := range []string{"docker.io/library/hello:1", "docker.io/library/hello:2", "docker.io/library/hello:3", "docker.io/library/on:1"} {
		if !node.has(name) {
			t.Errorf("the node did not get %s", name)
		}
	}
}

// imageTaker stands in for the node's image service: it takes OCI archives
// with one manifest.
type imageTaker struct {
	mu    sync.Mutex
	names map[string]bool
}

func (i *imageTaker) has(name string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.names[name]
}

func (i *imageTaker) serve(t *testing.T, socket string) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/v1/images" {
			http.NotFound(w, r)
			return
		}
		if err := oneManifest(r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.names == nil {
			i.names = map[string]bool{}
		}
		i.names[r.URL.Query().Get("name")] = true
		_, _ = io.WriteString(w, "[]")
	})}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
}

func oneManifest(r io.Reader) error {
	tr := tar.NewReader(r)
	found := errors.New("no index.json")
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			return err
		}
		if h.Name != "index.json" {
			continue
		}
		var index struct{ Manifests []json.RawMessage }
		if err := json.NewDecoder(tr).Decode(&index); err != nil {
			return err
		}
		if len(index.Manifests) != 1 {
			return errors.New("not one manifest")
		}
		found = nil
	}
}

func TestTokenFor(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "admin.token"), []byte("t0ken\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const server = "http://penstock.localhost:7080"
	for _, c := range []struct{ remote, env, want string }{
		{"http://penstock.localhost:7080/git/a/b.git", "", "t0ken"},
		{"http://penstock.localhost:7080/git/a/b.git", "from-env", "from-env"},
		{"http://penstock.localhost:7081/git/a/b.git", "", ""},
		{"https://penstock.localhost:7080/git/a/b.git", "", ""},
		{"http://penstock.localhost:7080.evil.example/git/a/b.git", "from-env", ""},
		{"https://github.com/a/b.git", "from-env", ""},
		{"git@github.com:a/b.git", "from-env", ""},
	} {
		t.Setenv("PENSTOCK_TOKEN", c.env)
		if got := tokenFor(c.remote, server, dir); got != c.want {
			t.Errorf("tokenFor(%q) = %q, want %q", c.remote, got, c.want)
		}
	}
	t.Setenv("PENSTOCK_TOKEN", "")
	if got := tokenFor(server+"/git/a/b.git", server, filepath.Join(dir, "none")); got != "" {
		t.Errorf("without a token: %q", got)
	}
}
