package house

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// maxLines is where a hand-written file has become two things.
const maxLines = 800

var generated = regexp.MustCompile(`(?m)^(//|/\*|#) Code generated .* DO NOT EDIT\.`)

// tracked returns the files that git knows or would add, relative to the root.
func tracked(t *testing.T) []string {
	t.Helper()
	c := exec.CommandContext(t.Context(), "git", "-C", "../..", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	out, err := c.Output()
	if err != nil {
		t.Skipf("not a git checkout: %v", err)
	}
	files := strings.Split(strings.TrimRight(string(out), "\x00"), "\x00")
	if len(files) < 20 {
		t.Fatalf("git lists %d files: this test looks in the wrong place", len(files))
	}
	return files
}

// read returns a tracked file's text, or false for what is deleted, a link or
// not text.
func read(t *testing.T, file string) ([]byte, bool) {
	t.Helper()
	path := filepath.Join("../..", file)
	if fi, err := os.Lstat(path); err != nil || !fi.Mode().IsRegular() {
		return nil, false
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b, !bytes.ContainsRune(b[:min(len(b), 8000)], 0)
}

func TestFileSize(t *testing.T) {
	code := []string{".go", ".ts", ".tsx", ".js", ".mjs", ".css", ".sh"}
	for _, f := range tracked(t) {
		if !slices.Contains(code, filepath.Ext(f)) || strings.Contains("/"+f, "/testdata/") {
			continue
		}
		b, ok := read(t, f)
		if !ok || generated.Match(b) {
			continue
		}
		if n := bytes.Count(b, []byte("\n")); n > maxLines {
			t.Errorf("%s has %d lines, more than %d: it does more than one thing", f, n, maxLines)
		}
	}
}

// TestRootHasNoReplace keeps `go install .../cmd/penstock@version` possible.
func TestRootHasNoReplace(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json", "../../go.mod").Output()
	if err != nil {
		t.Fatal(err)
	}
	var mod struct {
		Replace, Exclude []any
		Module           struct{ Path string }
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	if mod.Module.Path != module {
		t.Errorf("module %q, want %q", mod.Module.Path, module)
	}
	if len(mod.Replace)+len(mod.Exclude) > 0 {
		t.Errorf("the root go.mod has replace or exclude lines, which go install refuses")
	}
}

// TestNoMachinePaths finds what only the author's machine has: the paths of
// its checkouts and caches.
func TestNoMachinePaths(t *testing.T) {
	var words []string
	out, err := exec.CommandContext(t.Context(), "git", "-C", "../..", "worktree", "list", "--porcelain").Output()
	if err != nil {
		t.Skipf("not a git checkout: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		if dir, ok := strings.CutPrefix(strings.TrimSpace(line), "worktree "); ok {
			words = append(words, dir)
		}
	}
	out, err = exec.CommandContext(t.Context(), "go", "env", "GOMODCACHE", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	words = append(words, strings.Fields(string(out))...)
	if len(words) < 3 {
		t.Fatalf("expected a checkout and two caches, got %q", words)
	}
	for _, f := range tracked(t) {
		b, ok := read(t, f)
		if !ok {
			continue
		}
		for _, w := range words {
			if bytes.Contains(b, []byte(w+"/")) || bytes.Contains(b, []byte(w+"\n")) {
				t.Errorf("%s names %s, a path of this machine", f, w)
			}
		}
	}
}

// TestMarkdownLinks follows every relative link of the documents.
func TestMarkdownLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#\s]+)(#[^)]*)?\)`)
	n := 0
	for _, f := range tracked(t) {
		if filepath.Ext(f) != ".md" || strings.Contains("/"+f, "/testdata/") {
			continue
		}
		b, ok := read(t, f)
		if !ok {
			continue
		}
		for _, m := range link.FindAllSubmatch(b, -1) {
			target := string(m[1])
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			n++
			if _, err := os.Stat(filepath.Join("../..", filepath.Dir(f), target)); err != nil {
				t.Errorf("%s links to %s, which does not exist", f, target)
			}
		}
	}
	if n == 0 {
		t.Error("no links found: this test looks in the wrong place")
	}
}

// TestDocsAreIndexed wants every document of docs in its index: what nobody
// finds is not written.
func TestDocsAreIndexed(t *testing.T) {
	index, err := os.ReadFile("../../docs/README.md")
	if err != nil {
		t.Fatal(err)
	}
	docs, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range docs {
		name := filepath.Base(d)
		if name != "README.md" && !bytes.Contains(index, []byte("]("+name+")")) {
			t.Errorf("docs/README.md does not name %s", name)
		}
	}
}
