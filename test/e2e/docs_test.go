//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/test/console"
)

// TestE2EDocs runs the examples of the documents that need a running Penstock:
// blocks marked "console cluster". Each document starts in a working copy of an
// application with a workflow and a Dockerfile.
func TestE2EDocs(t *testing.T) {
	p := NewPlatform(t)
	p.Up(t)
	home := t.TempDir()
	env := append(os.Environ(), "HOME="+home, "PATH="+p.Bin+":"+os.Getenv("PATH"),
		"PENSTOCK_DATA_DIR="+p.DataDir, "PENSTOCK_SERVER=http://penstock.localhost:7080", "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_NOSYSTEM=1")
	for _, doc := range []string{"ci.md", "git.md", "build.md"} { // build.md uses what git.md pushes
		path := filepath.Join("..", "..", "docs", doc)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		examples := console.Examples(string(b), "console cluster")
		if len(examples) == 0 {
			t.Errorf("%s has no example for a running Penstock", path)
		}
		dir := t.TempDir()
		write(t, dir, ".github/workflows/ci.yaml", "on: push\njobs:\n  test:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@v4\n      - run: echo tested >> \"$GITHUB_STEP_SUMMARY\"\n")
		write(t, dir, "Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")
		p.Git(t, dir, "init")
		p.Git(t, dir, "add", ".")
		p.Git(t, dir, "commit", "-m", "first")
		for _, e := range examples {
			// A run begins a moment after its push, so what asks for it asks again.
			for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(200 * time.Millisecond) {
				err := e.Run(t.Context(), dir, env)
				if err == nil {
					break
				}
				if time.Now().After(deadline) || !strings.HasPrefix(e.Command, "penstock ci ") {
					t.Fatalf("%s:%v", path, err)
				}
			}
		}
	}
}
