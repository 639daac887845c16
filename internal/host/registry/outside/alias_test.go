package outside

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/registry/storage"
)

func TestAliasesAreSpelledOut(t *testing.T) {
	for _, tc := range []struct{ name, repo, wantName, wantRepo, wrong string }{
		{"docker.io/library/busybox", "demo/busybox", "docker.io/library/busybox", "demo/busybox", ""},
		{"docker.io/busybox", "demo/busybox", "docker.io/library/busybox", "demo/busybox", ""},
		{"index.docker.io/a/b", "demo/b", "docker.io/a/b", "demo/b", ""},
		{"ghcr.io/my-org/*", "my-org/*", "ghcr.io/my-org/*", "my-org/*", ""},
		{"ghcr.io/*", "ours/*", "ghcr.io/*", "ours/*", ""},
		{"docker.io/bitnami/*", "bitnami/*", "docker.io/bitnami/*", "bitnami/*", ""},
		{"localhost:5000/a", "demo/a", "localhost:5000/a", "demo/a", ""},
		{"busybox", "demo/busybox", "", "", "HOST/NAME"},
		{"ghcr.io/my-org/*", "my-org", "", "", "none does"},
		{"ghcr.io/a", "my-org/*", "", "", "none does"},
		{"ghcr.io/A", "demo/a", "", "", "lower-case"},
		{"ghcr.io/a", "../a", "", "", "lower-case"},
		{"ghcr.io/a", "mirror/ghcr.io/b", "", "", "copies"},
		{"gh cr/*", "a/*", "", "", "host"},
		{"*", "a", "", "", "HOST/NAME"},
		{"/*", "a/*", "", "", "host"},
		{"", "", "", "", "HOST/NAME"},
	} {
		got, err := Alias{tc.name, tc.repo}.normal()
		if tc.wrong != "" {
			if err == nil || !errors.Is(err, problem.ErrInvalid) || !strings.Contains(err.Error(), tc.wrong) {
				t.Errorf("%s -> %s: %v, %v; want %q", tc.name, tc.repo, got, err, tc.wrong)
			}
			continue
		}
		if err != nil || got != (Alias{tc.wantName, tc.wantRepo}) {
			t.Errorf("%s -> %s: %v, %v", tc.name, tc.repo, got, err)
		}
	}
}

func TestLookup(t *testing.T) {
	s, err := storage.Open(t.TempDir(), storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "aliases.json")
	open := func() *Registry {
		r, err := New(Options{Store: s, AliasFile: file})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := open()
	for _, a := range []Alias{{"docker.io/busybox", "demo/busybox"}, {"ghcr.io/my-org/*", "my-org/*"}, {"ghcr.io/my-org/deep/*", "deep/*"}, {"ghcr.io/my-org/one", "other/one"}, {"corp.example:5000/*", "corp/*"}} {
		if _, err := r.SetAlias(a); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		for name, want := range map[string]struct {
			repo  string
			fetch bool
			err   error
		}{
			"docker.io/library/busybox":        {"demo/busybox", false, nil},
			"docker.io/busybox":                {"demo/busybox", false, nil},
			"registry-1.docker.io/busybox":     {"demo/busybox", false, nil},
			"docker.io/library/busyboxer":      {"mirror/docker.io/library/busyboxer", true, nil},
			"docker.io/redis":                  {"mirror/docker.io/library/redis", true, nil},
			"ghcr.io/my-org/app":               {"my-org/app", false, nil},
			"ghcr.io/my-org/one":               {"other/one", false, nil},
			"ghcr.io/my-org/deep/er/app":       {"deep/er/app", false, nil},
			"ghcr.io/my-organisation/app":      {"mirror/ghcr.io/my-organisation/app", true, nil},
			"corp.example:5000/app":            {"corp/app", false, nil},
			"corp.example_5000/app":            {"corp/app", false, nil},
			"unknown.example/app":              {"", false, storage.ErrNameUnknown},
			"169.254.169.254/latest/meta-data": {"", false, storage.ErrNameUnknown},
			"localhost:6443/api":               {"", false, storage.ErrNameUnknown},
			"docker.io":                        {"", false, storage.ErrNameInvalid},
			"docker.io/../x":                   {"", false, storage.ErrNameInvalid},
			"user@docker.io/x":                 {"", false, storage.ErrNameInvalid},
		} {
			repo, fetch, err := r.Lookup(name)
			if repo != want.repo || fetch != want.fetch || !errors.Is(err, want.err) {
				t.Errorf("%s: %q, %t, %v; want %+v", name, repo, fetch, err, want)
			}
		}
		r = open() // the table survives
	}
	if err := r.RemoveAlias("docker.io/busybox"); err != nil {
		t.Error(err)
	}
	if err := r.RemoveAlias("docker.io/busybox"); !errors.Is(err, problem.ErrNotFound) {
		t.Errorf("removed again: %v", err)
	}
	if err := r.RemoveAlias("ghcr.io/my-org/*"); err != nil {
		t.Error(err)
	}
	want := []Alias{{"corp.example:5000/*", "corp/*"}, {"ghcr.io/my-org/deep/*", "deep/*"}, {"ghcr.io/my-org/one", "other/one"}}
	if diff := cmp.Diff(want, r.Aliases()); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

func TestMirrorAddressesAreChecked(t *testing.T) {
	for _, address := range []string{"ftp://x", "x", "https://", "https://x/path", "https://user:secret@x", "://"} {
		_, err := New(Options{AliasFile: filepath.Join(t.TempDir(), "a"), Mirrors: map[string]string{"example.com": address}})
		if err == nil {
			t.Errorf("%q was taken", address)
		}
	}
}

// FuzzParseName shows that a name survives being kept here, and cannot leave.
func FuzzParseName(f *testing.F) {
	for _, s := range []string{"docker.io/busybox", "localhost:5000/a/b", "a_1/b", "a/../b", "[::1]:80/a", "a:b/c", "x/y:z"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parseName(text)
		if err != nil {
			return
		}
		if strings.ContainsAny(n.host, "/_@") || strings.Contains(n.String(), "/../") {
			t.Errorf("%q: %+v", text, n)
		}
		if storage.CheckName(n.repository()) != nil {
			return // a host that no repository can be named after is refused when it is looked up
		}
		if again, err := parseRepository(n.repository()); err != nil || again != n {
			t.Errorf("%q: %+v becomes %+v, %v", text, n, again, err)
		}
	})
}
