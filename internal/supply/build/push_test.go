//go:build linux

package build_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/penstock-dev/penstock/internal/supply/build"
	"github.com/penstock-dev/penstock/internal/supply/build/buildtest"
)

// TestPush pushes images and caches to a registry on this machine, and builds
// on what is there.
func TestPush(t *testing.T) {
	reg := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(reg.Close)
	host := strings.TrimPrefix(reg.URL, "http://")
	srv := buildtest.Start(t)
	b := build.New(build.Options{Socket: srv.Socket})
	dir := files(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY bin /bin\nRUN busybox date > /when\n"})
	r := build.Request{
		Context: dir, Tags: []string{host + "/demo/app:1", host + "/demo/app:latest"}, Outputs: []build.Output{{Type: build.OutputPush}},
		CacheTo: []build.Cache{{Type: "registry", Attrs: map[string]string{"ref": host + "/demo/cache", "mode": "max"}}, {Type: "inline"}},
	}
	res, err := b.Build(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range r.Tags {
		ref, err := name.ParseReference(tag)
		if err != nil {
			t.Fatal(err)
		}
		d, err := remote.Head(ref)
		if err != nil || d.Digest.String() != res.Digest {
			t.Errorf("%s is %+v, %v, want %s", tag, d, err, res.Digest)
		}
	}

	t.Run("base image", func(t *testing.T) {
		on := files(t, map[string]string{"Dockerfile": "FROM " + host + "/demo/app@" + res.Digest + "\nRUN test -s /when\n"})
		if _, err := b.Build(t.Context(), build.Request{Context: on, Outputs: []build.Output{{Type: build.OutputCacheOnly}}}); err != nil {
			t.Error(err)
		}
	})
	for _, from := range []string{"/demo/cache", "/demo/app:1"} {
		t.Run("cache from "+from, func(t *testing.T) {
			empty := build.New(build.Options{Socket: buildtest.Start(t).Socket})
			r := r
			r.CacheTo, r.Tags = nil, []string{host + "/demo/again:1"}
			r.CacheFrom = []build.Cache{{Type: "registry", Attrs: map[string]string{"ref": host + from}}}
			p := &transcript{}
			r.Progress = p.update
			if _, err := empty.Build(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			cached := false
			for step, s := range p.steps {
				if strings.Contains(step, "RUN busybox date") {
					cached = s.Cached
				}
			}
			if !cached {
				t.Errorf("the step was done again: %+v", p.steps)
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		down := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
		}))
		t.Cleanup(down.Close)
		r := r
		r.CacheTo, r.Tags = nil, []string{strings.TrimPrefix(down.URL, "http://") + "/x:1"}
		if _, err := b.Build(t.Context(), r); err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("err = %v", err)
		}
	})
}
