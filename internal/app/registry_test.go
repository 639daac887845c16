package app

import (
	"crypto/sha256"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/identity"
	"github.com/penstock-dev/penstock/internal/host/store"
)

func TestRegistryAddresses(t *testing.T) {
	for listen, want := range map[string][]string{
		"127.0.0.1:7080":  {"penstock.localhost:7080", "127.0.0.1:7080"},
		":7081":           {"penstock.localhost:7081", "127.0.0.1:7081"},
		"0.0.0.0:7080":    {"penstock.localhost:7080", "127.0.0.1:7080"},
		"[::]:7080":       {"penstock.localhost:7080", "127.0.0.1:7080"},
		"192.0.2.10:7080": {"penstock.localhost:7080", "192.0.2.10:7080"},
	} {
		if diff := cmp.Diff(want, registryHosts(listen)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", listen, diff)
		}
	}
}

func TestParseMirrors(t *testing.T) {
	for _, tc := range []struct {
		flags []string
		want  map[string]string
		ok    bool
	}{
		{nil, nil, true},
		{[]string{"none"}, map[string]string{}, true},
		{[]string{"ghcr.io", "corp.example=http://10.0.0.1:5000"}, map[string]string{"ghcr.io": "", "corp.example": "http://10.0.0.1:5000"}, true},
		{[]string{"=x"}, nil, false},
	} {
		got, err := parseMirrors(tc.flags)
		if (err == nil) != tc.ok || !tc.ok && !errors.Is(err, problem.ErrUsage) {
			t.Errorf("%v: %v", tc.flags, err)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", tc.flags, diff)
		}
	}
}

// TestWhoMayUseImages asks for the rights of the node, the admin and a job.
func TestWhoMayUseImages(t *testing.T) {
	dir := t.TempDir()
	db, err := store.Open(t.Context(), filepath.Join(dir, "store.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	keeper, err := identity.New(t.Context(), identity.Options{DB: db, TokenFile: filepath.Join(dir, "admin.token")})
	if err != nil {
		t.Fatal(err)
	}
	node, err := nodeToken(filepath.Join(dir, "node.token"))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := nodeToken(filepath.Join(dir, "node.token")); err != nil || again != node {
		t.Errorf("the node's token changed, %v", err)
	}
	if fi, err := os.Stat(filepath.Join(dir, "node.token")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	admin, err := os.ReadFile(filepath.Join(dir, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	job, err := keeper.Issue(t.Context(), identity.Job{Run: 1, Job: "build"}, identity.Scope{WriteImages: []string{"demo/*"}}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	a := imageAccess{keeper, sha256.Sum256([]byte(node))}
	for _, tc := range []struct {
		token, name      string
		demo, other      bool // may read
		wDemo, wOther    bool // may write
		wantUnidentified bool
	}{
		{token: node, name: "node", demo: true, other: true},
		{token: strings.TrimSpace(string(admin)), name: "admin", demo: true, other: true, wDemo: true, wOther: true},
		{token: job, name: "run/1/build", demo: true, wDemo: true},
		{token: "pnt_" + strings.Repeat("0", 40), wantUnidentified: true},
		{token: "", wantUnidentified: true},
	} {
		r := httptest.NewRequest("GET", "/v2/", nil)
		r.Header.Set("Authorization", "Bearer "+tc.token)
		u, err := a.Identify(r)
		if tc.wantUnidentified {
			if !errors.Is(err, problem.ErrUnauthenticated) {
				t.Errorf("%q: %v", tc.name, err)
			}
			continue
		}
		if err != nil || u.Name != tc.name {
			t.Errorf("%s: %q, %v", tc.name, u.Name, err)
			continue
		}
		got := []bool{u.May("demo/shop", false), u.May("other/app", false), u.May("demo/shop", true), u.May("other/app", true)}
		if diff := cmp.Diff([]bool{tc.demo, tc.other, tc.wDemo, tc.wOther}, got); diff != "" {
			t.Errorf("%s may (-want +got):\n%s", tc.name, diff)
		}
	}
}

func TestABrokenNodeTokenIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "node.token")
	if err := os.WriteFile(file, []byte("short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var p *problem.Error
	if _, err := nodeToken(file); !errors.As(err, &p) || p.Hint == "" {
		t.Errorf("%v", err)
	}
}
