//go:build linux

package build_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/registry"
	"github.com/penstock-dev/penstock/internal/host/registry/storage"
	"github.com/penstock-dev/penstock/internal/supply/build"
	"github.com/penstock-dev/penstock/internal/supply/build/buildtest"
)

// hostedName is Penstock's registry as images name it. Nothing resolves it.
const hostedName = "penstock.localhost:7080"

// jobAccess knows one token, of a job of the owner demo.
type jobAccess struct{}

func (jobAccess) Identify(r *http.Request) (registry.User, error) {
	if _, token, _ := r.BasicAuth(); token != "job" {
		return registry.User{}, fmt.Errorf("no token: %w", problem.ErrUnauthenticated)
	}
	return registry.User{Name: "job", May: func(repo string, _ bool) bool { return strings.HasPrefix(repo, "demo/") }}, nil
}

// nodeImages notes what goes into the node.
type nodeImages struct {
	mu    sync.Mutex
	names []string
}

func (n *nodeImages) ImportImage(_ context.Context, name string, r io.Reader) error {
	n.mu.Lock()
	n.names = append(n.names, name)
	n.mu.Unlock()
	_, err := io.Copy(io.Discard, r)
	return err
}

// TestHosted builds images that are named after Penstock's own registry.
func TestHosted(t *testing.T) {
	s, err := storage.Open(t.TempDir(), storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	reg := httptest.NewServer(registry.New(registry.Options{Store: s, Access: jobAccess{}, Names: []string{hostedName}}))
	t.Cleanup(reg.Close)
	srv := buildtest.Start(t, "-registry", hostedName+"="+reg.URL)
	images := &nodeImages{}
	hosts := []string{hostedName, strings.TrimPrefix(reg.URL, "http://")}
	b := build.New(build.Options{Socket: srv.Socket, Importer: images, Registries: hosts, RegistryToken: "wrong"})
	request := build.Request{
		Context: files(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY bin /bin\n"}),
		Tags:    []string{hostedName + "/demo/app:1", "elsewhere.example/demo/app:1"}, Outputs: []build.Output{{Type: build.OutputNode}},
		OnBehalf: true, RegistryToken: "job",
	}
	res, err := b.Build(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Resolve("demo/app", "", "1"); err != nil || got.String() != res.Digest {
		t.Errorf("the registry has %s, %v; the node has %s", got, err, res.Digest)
	}
	if len(images.names) != 2 {
		t.Errorf("the node got %v", images.names)
	}
	if repos, err := s.Repositories(); err != nil || len(repos) != 1 {
		t.Errorf("pushed to %v, %v", repos, err)
	}

	t.Run("base image", func(t *testing.T) {
		on := request
		on.Context, on.Tags = files(t, map[string]string{"Dockerfile": "FROM " + hostedName + "/demo/app:1\nCOPY Dockerfile /\n"}), []string{hostedName + "/demo/child:1"}
		if _, err := b.Build(t.Context(), on); err != nil {
			t.Error(err)
		}
	})
	t.Run("not pushed", func(t *testing.T) {
		local := request
		local.Tags, local.Outputs = []string{hostedName + "/demo/local:1"}, []build.Output{{Type: build.OutputNode, Local: true}}
		if _, err := b.Build(t.Context(), local); err != nil {
			t.Error(err)
		}
		if s.Exists("demo/local") {
			t.Error("it was pushed")
		}
	})
	for name, change := range map[string]func(*build.Request){
		"another owner's": func(r *build.Request) { r.Tags = []string{hostedName + "/other/app:1"} },
		"no token":        func(r *build.Request) { r.RegistryToken = "" },
		"our own token":   func(r *build.Request) { r.OnBehalf = false },
	} {
		t.Run(name, func(t *testing.T) {
			r := request
			change(&r)
			if _, err := b.Build(t.Context(), r); err == nil || !strings.Contains(err.Error(), "401") && !strings.Contains(err.Error(), "denied") {
				t.Errorf("err = %v", err)
			}
		})
	}
}
