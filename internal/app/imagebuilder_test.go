package app

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/ci/actions"
	"github.com/penstock-dev/penstock/internal/supply/build"
)

func TestCIRequest(t *testing.T) {
	got, err := ciRequest(actions.Build{Context: "/w/1/context", Tags: []string{"penstock.localhost:7080/demo/shop:abc", "shop"}, Secrets: map[string][]byte{"a": []byte("x")}, CacheFrom: []string{"ghcr.io/a/b"}, CacheTo: []string{"type=inline"}, Token: "t"})
	if err != nil {
		t.Fatal(err)
	}
	want := build.Request{
		Context: "/w/1/context", ContextKey: "ci:penstock.localhost:7080/demo/shop", Tags: []string{"penstock.localhost:7080/demo/shop:abc", "shop"},
		Outputs:   []build.Output{{Type: build.OutputNode, Local: true}},
		Secrets:   []build.Secret{{ID: "a", Value: []byte("x")}},
		CacheFrom: []build.Cache{{Type: "registry", Attrs: map[string]string{"ref": "ghcr.io/a/b"}}},
		CacheTo:   []build.Cache{{Type: "inline", Attrs: map[string]string{}}},
		OnBehalf:  true, RegistryToken: "t",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, err := ciRequest(actions.Build{Context: ".", Tags: []string{"a"}, Push: true}); err != nil || got.Outputs[0].Local {
		t.Errorf("with push: %+v, %v", got.Outputs, err)
	}
	if got, err := ciRequest(actions.Build{Context: "."}); err != nil || got.Outputs[0].Type != build.OutputCacheOnly {
		t.Errorf("without tags: %+v, %v", got.Outputs, err)
	}
	// However it is spelled, a job must not write a directory of this machine.
	for _, c := range []string{"type=local,dest=/etc/x", " type =local,dest=/etc/x", `"type=local",dest=/etc/x`} {
		if _, err := ciRequest(actions.Build{Context: ".", CacheTo: []string{c}}); !errors.Is(err, problem.ErrForbidden) {
			t.Errorf("cache-to %q: err = %v", c, err)
		}
	}
}

func TestLineWriter(t *testing.T) {
	var lines []string
	w := &lineWriter{emit: func(l string) { lines = append(lines, l) }}
	for _, p := range []string{"a", "b\nc\n\n", "d"} {
		if n, err := w.Write([]byte(p)); n != len(p) || err != nil {
			t.Fatal(n, err)
		}
	}
	w.flush()
	if got := strings.Join(lines, "|"); got != "ab|c||d" {
		t.Errorf("lines = %q", got)
	}
}
