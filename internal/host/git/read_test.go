package git_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

func TestResolve(t *testing.T) {
	h := start(t, t.TempDir())
	url := h.create("demo/shop")
	h.create("demo/empty")
	dir := work(t, map[string]string{"a": "1"})
	one := run(t, dir, "rev-parse", "HEAD")
	run(t, dir, "tag", "-a", "-m", "x", "v1")
	run(t, dir, "tag", "both")
	two := commit(t, dir, map[string]string{"a": "2"})
	run(t, dir, "branch", "both")
	run(t, dir, "branch", "feature/x")
	run(t, dir, "push", "-q", url, "main", "v1", "refs/heads/both", "refs/tags/both", "feature/x")
	gone := commit(t, dir, map[string]string{"a": "3"})
	run(t, dir, "push", "-q", url, "main")
	run(t, dir, "push", "-q", "--force", url, two+":refs/heads/main")

	for rev, want := range map[string]string{
		"": two, "HEAD": two, "main": two, "refs/heads/main": two, "feature/x": two,
		"v1": one, "refs/tags/v1": one, "both": two, "refs/tags/both": one,
		one: one, one[:7]: one, one[:12]: one, gone: gone,
	} {
		if got, err := h.Resolve(t.Context(), "demo/shop", rev); got != want || err != nil {
			t.Errorf("%q: %s, %v; want %s", rev, got, err, want)
		}
	}
	for _, rev := range []string{
		"nope", strings.Repeat("0", 40), one[:6], "main^", "main~1", "HEAD:a", ":/change", "@{-1}", "--all", "main\nHEAD",
		"heads/main", "../main", "main..both", one + " ", "refs/heads/", "/main", strings.Repeat("x", 2000),
		run(t, dir, "rev-parse", "HEAD^{tree}"),
	} {
		if got, err := h.Resolve(t.Context(), "demo/shop", rev); !errors.Is(err, problem.ErrNotFound) {
			t.Errorf("%q: %s, %v; want not found", rev, got, err)
		}
	}
	for _, repo := range []string{"demo/empty", "demo/none", "../demo/shop", "demo/shop.git", "demo", ""} {
		if got, err := h.Resolve(t.Context(), repo, "HEAD"); !errors.Is(err, problem.ErrNotFound) {
			t.Errorf("%s: %s, %v; want not found", repo, got, err)
		}
	}
}

func TestReadTreesFilesAndCommits(t *testing.T) {
	h := start(t, t.TempDir())
	url := h.create("demo/shop")
	ctx := t.Context()
	odd := "odd *name\twith \"all\"ö"
	dir := work(t, map[string]string{"a": "1", ".github/workflows/ci.yml": "on: push\n", ".github/x": "", odd: "odd"})
	if err := os.Symlink("a", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "add", "-A")
	run(t, dir, "commit", "-q", "--amend", "-m", "Subject ö\n\nBody\nmore", "--date=2026-01-02T03:04:05+02:00")
	head := run(t, dir, "rev-parse", "HEAD")
	run(t, dir, "push", "-q", url, "main")

	list := func(dir string) (out []string) {
		entries, err := h.ListTree(ctx, "demo/shop", head, dir)
		if err != nil {
			t.Errorf("list %q: %v", dir, err)
		}
		for _, e := range entries {
			out = append(out, fmt.Sprintf("%o %s %d", e.Mode, e.Path, e.Size))
		}
		return out
	}
	for dir, want := range map[string][]string{
		"":                  {"40000 .github -1", "100644 a 1", "120000 link 1", "100644 " + odd + " 3"},
		".github":           {"40000 .github/workflows -1", "100644 .github/x 0"},
		".github/workflows": {"100644 .github/workflows/ci.yml 9"},
	} {
		if diff := cmp.Diff(want, list(dir)); diff != "" {
			t.Errorf("list %q:\n%s", dir, diff)
		}
	}
	for name, want := range map[string]string{"a": "1", ".github/workflows/ci.yml": "on: push\n", ".github/x": "", odd: "odd"} {
		if got, err := h.ReadFile(ctx, "demo/shop", head, name); string(got) != want || err != nil {
			t.Errorf("%q: %q, %v; want %q", name, got, err, want)
		}
	}
	for name, is := range map[string]error{
		"none": problem.ErrNotFound, "a/b": problem.ErrNotFound, "": problem.ErrNotFound, "../a": problem.ErrNotFound, "/a": problem.ErrNotFound,
		"./a": problem.ErrNotFound, "*": problem.ErrNotFound, ":(top)a": problem.ErrNotFound, ".github/": problem.ErrNotFound,
		"link": problem.ErrInvalid, ".github": problem.ErrInvalid,
	} {
		if got, err := h.ReadFile(ctx, "demo/shop", head, name); !errors.Is(err, is) {
			t.Errorf("%q: %q, %v; want %v", name, got, err, is)
		}
	}
	if _, err := h.ReadFile(ctx, "demo/shop", strings.Repeat("1", 40), "a"); !errors.Is(err, problem.ErrNotFound) {
		t.Errorf("a commit that is not there: %v", err)
	}
	if _, err := h.ReadFile(ctx, "demo/shop", "main", "a"); !errors.Is(err, problem.ErrInvalid) {
		t.Errorf("a branch instead of a commit: %v", err)
	}
	if _, err := h.ListTree(ctx, "demo/shop", head, "a"); !errors.Is(err, problem.ErrNotFound) {
		t.Errorf("list a file: %v", err)
	}
	c, err := h.Commit(ctx, "demo/shop", head)
	if err != nil {
		t.Fatal(err)
	}
	if c.Hash != head || c.Message != "Subject ö\n\nBody\nmore" || c.Author.Name != "Ann" || c.Author.Email != "ann@example.com" ||
		!c.AuthorAt.Equal(time.Date(2026, 1, 2, 1, 4, 5, 0, time.UTC)) || len(c.Parents) != 0 || c.CommitAt.IsZero() {
		t.Errorf("commit %+v", c)
	}
}

func TestALongCommitMessageIsCutShort(t *testing.T) {
	h := start(t, t.TempDir())
	u := h.create("demo/shop")
	dir := work(t, map[string]string{"a": "1"})
	if err := os.WriteFile(filepath.Join(dir, "message"), []byte("Subject\n\n"+strings.Repeat("word word\n", 300_000)), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "commit", "-q", "--allow-empty", "-F", "message")
	run(t, dir, "push", "-q", u, "main")
	c, err := h.Commit(t.Context(), "demo/shop", run(t, dir, "rev-parse", "HEAD"))
	if err != nil || !strings.HasPrefix(c.Message, "Subject\n\nword word\n") || len(c.Message) > 1<<20 || len(c.Parents) != 1 {
		t.Errorf("%d bytes, parents %v, %v", len(c.Message), c.Parents, err)
	}
}

func TestAFileBeyondTheLimitIsAnErrorOfTheFile(t *testing.T) {
	h := start(t, t.TempDir())
	u := h.create("demo/shop")
	dir := work(t, map[string]string{"big": strings.Repeat("x", 17<<20)})
	run(t, dir, "push", "-q", u, "main")
	_, err := h.ReadFile(t.Context(), "demo/shop", run(t, dir, "rev-parse", "HEAD"), "big")
	if !errors.Is(err, problem.ErrInvalid) {
		t.Errorf("%v, want invalid", err)
	}
}

func TestChangedPaths(t *testing.T) {
	h := start(t, t.TempDir())
	url := h.create("demo/shop")
	dir := work(t, map[string]string{"a": "1", "d/b": "1", "gone": "1"})
	one := run(t, dir, "rev-parse", "HEAD")
	run(t, dir, "mv", "gone", "moved")
	two := commit(t, dir, map[string]string{"d/b": "2", "new file": "x"})
	run(t, dir, "push", "-q", url, "main")
	for _, tc := range []struct {
		before, after string
		want          []string
	}{
		{one, two, []string{"d/b", "gone", "moved", "new file"}},
		{two, one, []string{"d/b", "gone", "moved", "new file"}},
		{two, two, nil},
		{zero, one, []string{"a", "d/b", "gone"}},
		{strings.Repeat("1", 40), one, []string{"a", "d/b", "gone"}},
	} {
		got, err := h.ChangedPaths(t.Context(), "demo/shop", tc.before, tc.after)
		if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
			t.Errorf("%.7s..%.7s: %v\n%s", tc.before, tc.after, err, diff)
		}
	}
	if _, err := h.ChangedPaths(t.Context(), "demo/shop", one, strings.Repeat("1", 40)); !errors.Is(err, problem.ErrNotFound) {
		t.Errorf("to nowhere: %v", err)
	}
}

func TestExport(t *testing.T) {
	h := start(t, t.TempDir())
	url := h.create("demo/shop")
	dir := work(t, map[string]string{
		"a": "1\r\n", "d/e/f": strings.Repeat("x", 100_000), "run.sh": "#!/bin/sh\n",
		".gitattributes": "a text eol=lf\nd export-ignore\nrun.sh export-subst ident\n",
	})
	if err := errors.Join(os.Chmod(filepath.Join(dir, "run.sh"), 0o755), os.Symlink("e/f", filepath.Join(dir, "d", "link"))); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "-c", "core.autocrlf=false", "-c", "core.attributesFile=", "add", "-A")
	head := commit(t, dir, nil)
	run(t, dir, "push", "-q", url, "main")
	dst := filepath.Join(t.TempDir(), "new", "dir")
	if err := h.Export(t.Context(), "demo/shop", head, dst); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	err := filepath.WalkDir(dst, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		b, err := os.ReadFile(p)
		got[strings.TrimPrefix(p, dst+"/")] = fmt.Sprint(fi.Mode(), " ", len(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"d/e/f": "-rw-r--r-- 100000", "run.sh": "-rwxr-xr-x 10", "d/link": "Lrwxrwxrwx 100000"} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	if len(got) != 5 {
		t.Errorf("exported %v", got)
	}
	if err := h.Export(t.Context(), "demo/shop", strings.Repeat("1", 40), t.TempDir()); !errors.Is(err, problem.ErrNotFound) {
		t.Errorf("a commit that is not there: %v", err)
	}
}

func TestExportRefusesWhatLeavesTheTree(t *testing.T) {
	h := start(t, t.TempDir())
	url := h.create("demo/evil")
	for name, links := range map[string]map[string]string{
		"absolute":     {"l": "/etc/passwd"},
		"parent":       {"l": "../x"},
		"deep parent":  {"d/l": "../../x"},
		"by way of":    {"x/keep": "y", "a/d": "../x", "l": "a/d/../../.."},
		"from a link":  {"x/keep": "y", "a": "x", "b": "a/../../etc"},
		"in circles":   {"a": "b", "b": "a"},
		"longer still": {"a": "a/" + strings.Repeat("x/", 1000)},
	} {
		t.Run(name, func(t *testing.T) {
			dir := work(t, map[string]string{"file": "1"})
			for l, target := range links {
				p := filepath.Join(dir, l)
				if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.Symlink(target, p)); err != nil {
					t.Fatal(err)
				}
			}
			head := commit(t, dir, nil)
			run(t, dir, "push", "-q", "--force", url, "HEAD:refs/heads/main")
			dst := t.TempDir()
			if err := h.Export(t.Context(), "demo/evil", head, dst); !errors.Is(err, problem.ErrInvalid) {
				t.Errorf("%v, want invalid", err)
			}
			if left, _ := os.ReadDir(dst); len(left) != 0 {
				t.Errorf("wrote %v", left)
			}
		})
	}
}
