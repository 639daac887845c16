package demo

import (
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
)

// bare makes a repository where git's clone URL for it points.
func bare(t *testing.T) git {
	t.Helper()
	root := t.TempDir()
	g := newGit("file://"+root, "/nonexistent/it's", root, "")
	if err := os.MkdirAll(filepath.Join(root, "git", "demo"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := g.run(t.Context(), root, "init", "--quiet", "--bare", filepath.Join(root, "git", "demo", "shop.git")); err != nil {
		t.Fatal(err)
	}
	return g
}

func TestWorkCopy(t *testing.T) {
	ctx := t.Context()
	g := bare(t)
	first, err := g.clone(ctx, "demo/shop", filepath.Join(t.TempDir(), "a"))
	if err != nil {
		t.Fatal(err)
	}
	if !first.empty(ctx) {
		t.Error("the clone of an empty repository is not empty")
	}
	files := fstest.MapFS{"web/index.html": {Data: []byte("<p>old</p>")}, ".hidden": {Data: []byte("x")}}
	if err := first.put(files); err != nil {
		t.Fatal(err)
	}
	one, changed, err := first.commit(ctx, "one")
	if err != nil || !changed || len(one) != 40 {
		t.Fatalf("first commit: %q, %v, %v", one, changed, err)
	}
	if err := first.push(ctx); err != nil {
		t.Fatal(err)
	}
	if again, changed, err := first.commit(ctx, "again"); err != nil || changed || again != one {
		t.Errorf("commit of nothing: %q, %v, %v", again, changed, err)
	}

	second, err := g.clone(ctx, "demo/shop", filepath.Join(t.TempDir(), "b"))
	if err != nil {
		t.Fatal(err)
	}
	if second.empty(ctx) {
		t.Error("the clone has no commit")
	}
	if err := second.replace("web/index.html", "<p>", "</p>", "new"); err != nil {
		t.Fatal(err)
	}
	if err := second.replace("web/index.html", "<h1>", "</h1>", "new"); err == nil {
		t.Error("replaced what is not there")
	}
	two, _, err := second.commit(ctx, "two")
	if err != nil {
		t.Fatal(err)
	}
	if err := second.push(ctx); err != nil {
		t.Fatal(err)
	}

	if err := first.pull(ctx); err != nil {
		t.Fatal(err)
	}
	if got, _, err := first.commit(ctx, "three"); err != nil || got != two {
		t.Errorf("after pull: %q, %v; want %q", got, err, two)
	}
	if b, err := os.ReadFile(filepath.Join(first.dir, "web", "index.html")); err != nil || string(b) != "<p>new</p>" {
		t.Errorf("index.html is %q, %v", b, err)
	}
	if err := first.script(ctx, "-c", "exit 3"); err == nil {
		t.Error("a failing script succeeded")
	}
}
