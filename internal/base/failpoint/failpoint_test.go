package failpoint

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestMain lets this binary be the process that dies.
func TestMain(m *testing.M) {
	if os.Getenv("FAILPOINT_CHILD") == "" {
		os.Exit(m.Run())
	}
	for i := range 5 {
		fmt.Println(i)
		Hit("test.point")
	}
}

func TestHitKillsAtTheNamedPassOnly(t *testing.T) {
	for _, tc := range []struct {
		env, out string
		killed   bool
	}{
		{"", "0 1 2 3 4", false},
		{"other.point", "0 1 2 3 4", false},
		{"test.point", "0", true},
		{"test.point:3", "0 1 2", true},
		{"test.point:6", "0 1 2 3 4", false},
	} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "FAILPOINT_CHILD=1", Env+"="+tc.env)
		out, err := cmd.Output()
		if got := strings.Join(strings.Fields(string(out)), " "); got != tc.out {
			t.Errorf("%q: ran to %q, want %q", tc.env, got, tc.out)
		}
		if killed := err != nil && strings.Contains(err.Error(), "killed"); killed != tc.killed {
			t.Errorf("%q: %v, want killed=%t", tc.env, err, tc.killed)
		}
	}
}

func TestParse(t *testing.T) {
	for in, want := range map[string]point{
		"":      {"", 1},
		"a.b":   {"a.b", 1},
		"a.b:2": {"a.b", 2},
		"a.b:0": {"a.b", 1},
		"a.b:x": {"a.b", 1},
	} {
		if got := parse(in); got != want {
			t.Errorf("parse(%q) = %v, want %v", in, got, want)
		}
	}
}

// TestEveryPointIsListed compares points.tsv with the calls in the source.
func TestEveryPointIsListed(t *testing.T) {
	b, err := os.ReadFile("points.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for line := range strings.Lines(string(b)) {
		name, what, ok := strings.Cut(strings.TrimSpace(line), "\t")
		if !ok || what == "" {
			t.Errorf("points.tsv: line %q does not say what the point stands for", line)
		}
		listed = append(listed, name)
	}
	if !sort.StringsAreSorted(listed) {
		t.Error("points.tsv is not sorted")
	}
	call := regexp.MustCompile(`\bfailpoint\.Hit\(([^)]*)\)`)
	seen := map[string]bool{}
	root := filepath.Join("..", "..", "..")
	for _, dir := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			src, err := os.ReadFile(path)
			if err != nil || !bytes.Contains(src, []byte("failpoint.Hit(")) {
				return err
			}
			for _, m := range call.FindAllSubmatch(src, -1) {
				name := strings.Trim(string(m[1]), `"`)
				if seen[name] {
					t.Errorf("%s: point %s stands in two places", path, name)
				}
				seen[name] = true
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var used []string
	for name := range seen {
		used = append(used, name)
	}
	sort.Strings(used)
	if diff := cmp.Diff(used, listed); diff != "" {
		t.Errorf("points in the source (-) and in points.tsv (+) differ:\n%s", diff)
	}
}
