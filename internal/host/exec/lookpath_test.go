package exec

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"a/tool": 0o755, "b/tool": 0o755, "b/data": 0o644, "here": 0o755} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name, path, want string
	}{
		{"tool", dir + "/a:" + dir + "/b", dir + "/a/tool"},
		{"tool", dir + "/none:" + dir + "/b", dir + "/b/tool"},
		{"tool", "b", dir + "/b/tool"}, // relative to the working directory
		{"data", dir + "/b", ""},       // not executable
		{"here", "", ""}, {"here", ":", ""},
		{"./here", "", dir + "/here"}, {"a/tool", "", dir + "/a/tool"}, {dir + "/here", "", dir + "/here"},
		{"./a", "", ""}, {"/no/such", "", ""},
	} {
		got, err := LookPath(tc.name, dir, []string{"PATH=/overridden", "PATH=" + tc.path})
		if got != tc.want || (err != nil) != (tc.want == "") {
			t.Errorf("%s in %q: %q, %v", tc.name, tc.path, got, err)
		}
		if err != nil && !errors.Is(err, problem.ErrNotFound) {
			t.Errorf("%s: %v does not wrap %v", tc.name, err, problem.ErrNotFound)
		}
	}
}
