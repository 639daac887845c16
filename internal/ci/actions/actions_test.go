package actions

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

func TestResolve(t *testing.T) {
	r := New(nil)
	for uses, want := range map[string]string{
		"actions/checkout@v4":                         "",
		"actions/checkout@v4.1.1":                     "",
		"Actions/Checkout@v4":                         "",
		"docker/build-push-action@v6":                 "",
		"actions/checkout@v99":                        "is built in with the behaviour of v1, v2, v3, v4, v5, not of 'v99'",
		"actions/checkout@main":                       "not of 'main'",
		"actions/checkout@" + strings.Repeat("a", 40): "not of 'aaaa",
		"some/action@v1":                              "action some/action is not built in, and this version of Penstock runs built-in actions only: actions/checkout, ",
	} {
		_, err := r.Resolve(uses)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, problem.ErrInvalid)) {
			t.Errorf("%s: %v, want %q", uses, err, want)
		}
	}
}

func TestSatisfies(t *testing.T) {
	for _, tc := range []struct{ version, yes, no string }{
		{"1.26.8", "1.26,1.26.8,1.26.x,1.x,1,>=1.22,>=1.22 <2,^1.20.1,~1.26.2,<=1.26,1.20 || 1.26,v1.26,=1.26.8,*,> 1.25, < 1.27", "1.22,1.26.7,>1.26,<1.26,~1.25,^2,>=1.27,1.20 || 1.21,<=1.26.7"},
		{"20.11.1", "20,20.x,>=18,^20.0.0,18 || 20,20.11", "18,22,^18,20.12"},
		{"0.2.3", "^0.2.1,~0.2,^0.2", "^0.1,^0.3,^0.2.4"},
		{"0.0.3", "^0.0.3", "^0.0.2,^0.0.4"},
	} {
		p, err := parsePartial(tc.version)
		if err != nil {
			t.Fatal(err)
		}
		for list, want := range map[string]bool{tc.yes: true, tc.no: false} {
			for _, spec := range strings.Split(list, ",") {
				if got, err := satisfies(p.v, spec); err != nil || got != want {
					t.Errorf("%s satisfies %q: %v, %v; want %v", tc.version, spec, got, err, want)
				}
			}
		}
	}
	for _, bad := range []string{"abc", "1.2.3.4", ">>1", "1.2-beta"} {
		if _, err := satisfies(version{}, bad); err == nil {
			t.Errorf("%q is taken for a range", bad)
		}
	}
}

func TestGoModVersion(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"go.mod", "module x\n\ngo 1.22\n", ">=1.22"},
		{"go.mod", "module x\n\ngo 1.22.1\n\ntoolchain go1.23.4\n", ">=1.23.4"},
		{".go-version", "1.22.1\n", "1.22.1"},
		{".go-version", "go1.22\n", "1.22"},
	} {
		if got, err := goModVersion(tc.name, tc.text); err != nil || got != tc.want {
			t.Errorf("%s %q: %q, %v; want %q", tc.name, tc.text, got, err, tc.want)
		}
	}
	if _, err := goModVersion("go.mod", "module x\n"); err == nil {
		t.Error("a go.mod without a version gives one")
	}
}

func TestList(t *testing.T) {
	for _, tc := range []struct {
		in     string
		commas bool
		want   []string
	}{
		{"a,b\nc", true, []string{"a", "b", "c"}},
		{" a , b ,\n\n# comment\n", true, []string{"a", "b"}},
		{`"a,b",c`, true, []string{"a,b", "c"}},
		{"type=registry,ref=x\ntype=inline", false, []string{"type=registry,ref=x", "type=inline"}},
		{"", true, nil},
	} {
		if d := cmp.Diff(tc.want, list(tc.in, tc.commas)); d != "" {
			t.Errorf("%q (-want +got):\n%s", tc.in, d)
		}
	}
}

// TestSnapshotStaysInside pictures a workspace that was made to lead out.
func TestSnapshotStaysInside(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	work := filepath.Join(dir, "work")
	for path, text := range map[string]string{"outside/secret": "no", "work/app/Dockerfile": "FROM scratch", "work/app/sub/file": "yes", "work/app/run.sh": "x"} {
		full := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(work, "app/run.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"work/app/abs": outside, "work/app/rel": "../../outside/secret", "work/app/in": "sub/file", "work/away": outside} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(work, "app/pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(work)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := snapshot(t.Context(), root, "app", filepath.Join(dir, "picture")); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	err = filepath.Walk(filepath.Join(dir, "picture"), func(path string, fi os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(filepath.Join(dir, "picture"), path)
		switch {
		case fi.Mode()&os.ModeSymlink != 0:
			target, _ := os.Readlink(path)
			got[rel] = "-> " + strings.TrimPrefix(target, dir)
		case fi.Mode().IsRegular():
			b, _ := os.ReadFile(path)
			got[rel] = string(b) + " " + fi.Mode().String()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"Dockerfile": "FROM scratch -rw-r--r--", "sub/file": "yes -rw-r--r--", "run.sh": "x -rwxr-xr-x",
		"abs": "-> /outside", "rel": "-> ../../outside/secret", "in": "-> sub/file"} // links are pictured, never followed
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("picture (-want +got):\n%s", d)
	}
	if err := snapshot(t.Context(), root, "away", filepath.Join(dir, "picture2")); err == nil {
		t.Error("a context behind a link to outside was pictured")
	}
	for _, name := range []string{"app/rel", "app/pipe", "app/abs/secret"} {
		if err := copyOut(root, name, filepath.Join(dir, "Dockerfile")); err == nil {
			t.Errorf("%s was read as a Dockerfile", name)
		}
	}
	if err := copyOut(root, "app/in", filepath.Join(dir, "Dockerfile")); err != nil {
		t.Errorf("a link inside the workspace: %v", err)
	}
}

func TestRelative(t *testing.T) {
	for _, tc := range []struct{ in, want string }{{"", "."}, {".", "."}, {"a/../b", "b"}, {"/w/x/y", "y"}, {"..", ""}, {"/etc", ""}, {"a/../../b", ""}} {
		got, err := relative("/w/x", tc.in)
		if got != tc.want || (err != nil) != (tc.want == "") {
			t.Errorf("%q: %q, %v; want %q", tc.in, got, err, tc.want)
		}
	}
}
