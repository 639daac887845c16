package runner

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/ci/expr"
)

// expect is the digest over files with these contents, in this order.
func expect(contents ...string) string {
	if len(contents) == 0 {
		return ""
	}
	h := sha256.New()
	for _, c := range contents {
		d := sha256.Sum256([]byte(c))
		h.Write(d[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}

func TestHashFiles(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	work := filepath.Join(dir, "work")
	for name, text := range map[string]string{
		"work/go.sum": "root", "work/a/go.sum": "a", "work/a/b/go.sum": "ab", "work/a/.hidden": "h", "work/Z/go.sum": "Z",
		"work/node_modules/x/go.sum": "nm", "work/x1.txt": "1", "work/x2.txt": "2", "work/[b].txt": "br", "outside": "secret",
	} {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"inside": "go.sum", "escape": outside, "dirlink": "a"} {
		if err := os.Symlink(target, filepath.Join(work, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name     string
		patterns []string
		want     string
		err      string
	}{
		{"one file", []string{"go.sum"}, expect("root"), ""},
		{"everywhere, in the order of bytes", []string{"**/go.sum"}, expect("Z", "ab", "a", "root", "nm"), ""},
		{"exclude", []string{"**/go.sum", "!node_modules/**"}, expect("Z", "ab", "a", "root"), ""},
		{"exclude in one argument", []string{"**/go.sum\n!**/a/**"}, expect("Z", "root", "nm"), ""},
		{"include again", []string{"**/go.sum", "!a/**", "a/go.sum"}, expect("Z", "a", "root", "nm"), ""},
		{"nothing", []string{"nope/*"}, "", ""},
		{"a directory is all below it", []string{"a"}, expect("h", "ab", "a"), ""},
		{"hidden files count", []string{"a/*"}, expect("h", "ab", "a"), ""},
		{"set", []string{"x[2-9].txt"}, expect("2"), ""},
		{"negated set", []string{"x[!2].txt"}, expect("1"), ""},
		{"question mark", []string{"x?.txt"}, expect("1", "2"), ""},
		{"order of search paths", []string{"x2.txt", "go.sum"}, expect("2", "root"), ""},
		{"dot slash", []string{"./go.sum"}, expect("root"), ""},
		{"absolute inside", []string{work + "/go.sum"}, expect("root"), ""},
		{"absolute outside", []string{outside}, "", ""},
		{"comment", []string{"# no", "go.sum"}, expect("root"), ""},
		{"link to a file", []string{"inside"}, expect("root"), ""},
		{"links to directories are not followed", []string{"dirlink/**"}, "", ""},
		{"link out of the workspace", []string{"escape"}, "", "escapes"},
		{"parent", []string{"../outside"}, "", "relative pathing '.' and '..' is not allowed"},
		{"follow", []string{"--follow-symbolic-links", "x"}, "", "not supported yet"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := &step{job: &job{workspace: work}}
			var args []expr.Value
			for _, p := range tc.patterns {
				args = append(args, p)
			}
			got, err := s.hashFiles(args)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil || got != tc.want {
				t.Errorf("got %v, %v; want %q", got, err, tc.want)
			}
		})
	}
}

func FuzzGlob(f *testing.F) {
	f.Add("a/**/b[!c]*?", "a/x/bd1")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		h := &fileHash{}
		if h.parse([]string{pattern}, "/w") == nil {
			h.matches(name)
		}
	})
}
