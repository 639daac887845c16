package app

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/test/console"
)

// TestDocs runs the examples of the documents: every fenced block whose info
// string is "console" (see package console). Commands of one document share a
// directory. Blocks marked "console cluster" need a running Penstock
// (TestE2EDocs), those marked "console builder" an image builder only
// (TestBuildDocs).
func TestDocs(t *testing.T) {
	docs, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	docs = append(docs, "../../README.md")
	ran := 0
	for _, doc := range docs {
		b, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		examples := console.Examples(string(b), "console")
		if len(examples) == 0 {
			continue
		}
		ran += len(examples)
		t.Run(filepath.Base(doc), func(t *testing.T) {
			dir := t.TempDir()
			for _, e := range examples {
				runExample(t, doc, dir, e)
			}
		})
	}
	if ran == 0 {
		t.Error("no examples found: this test looks in the wrong place")
	}
}

// runExample runs e where no Penstock runs.
func runExample(t *testing.T, doc, dir string, e console.Example) {
	t.Helper()
	env := append(os.Environ(), "PENSTOCK_DATA_DIR="+filepath.Join(dir, "data"), "PENSTOCK_SERVER=http://penstock.localhost:1")
	if err := e.Run(t.Context(), dir, env); err != nil {
		t.Errorf("%s:%v", doc, err)
	}
}

// TestEveryCommandIsDocumented wants each command that completion offers in
// the table of docs/cli.md.
func TestEveryCommandIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if code := Main(t.Context(), []string{"__complete", ""}, strings.NewReader(""), &out, io.Discard); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	n := 0
	for line := range strings.Lines(out.String()) {
		name, _, ok := strings.Cut(line, "\t")
		if !ok || name == "help" {
			continue
		}
		n++
		if !strings.Contains(string(doc), "`"+name+"`") {
			t.Errorf("docs/cli.md does not name the command %s", name)
		}
	}
	if n < 10 {
		t.Errorf("completion offers %d commands:\n%s", n, out.String())
	}
}
