package app

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestDocs runs the examples of the documents: every fenced block whose info
// string is "console". "$ " begins a command, what follows is what it prints
// on both streams ("..." stands for any lines), "[exit N]" ends one that does
// not succeed. Commands of one document share a directory. Blocks marked
// "console cluster" need a running Penstock and are for test/e2e; those marked
// "console builder" need an image builder only (TestBuildDocs).
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
		examples := consoleExamples(string(b), "console")
		if len(examples) == 0 {
			continue
		}
		ran += len(examples)
		t.Run(filepath.Base(doc), func(t *testing.T) {
			dir := t.TempDir()
			for _, e := range examples {
				e.run(t, doc, dir)
			}
		})
	}
	if ran == 0 {
		t.Error("no examples found: this test looks in the wrong place")
	}
}

type example struct {
	line    int
	command string
	want    string // output, with "..." lines
	exit    int
}

// consoleExamples finds the commands of the blocks of a document that have
// this info string.
func consoleExamples(doc, info string) []example {
	var all []example
	inside := false
	for i, line := range strings.Split(doc, "\n") {
		switch {
		case strings.HasPrefix(line, "```"):
			inside = !inside && strings.TrimSpace(line[3:]) == info
		case !inside:
		case strings.HasPrefix(line, "$ "):
			all = append(all, example{line: i + 1, command: line[2:]})
		case len(all) == 0:
		case strings.HasPrefix(line, "> "), line == ">": // the command goes on
			all[len(all)-1].command += "\n" + strings.TrimPrefix(line[1:], " ")
		case strings.HasPrefix(line, "[exit "):
			_, _ = fmt.Sscanf(line, "[exit %d]", &all[len(all)-1].exit)
		default:
			all[len(all)-1].want += line + "\n"
		}
	}
	return all
}

func (e example) run(t *testing.T, doc, dir string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "sh", "-c", e.command)
	c.Dir = dir
	c.Env = append(os.Environ(), "PENSTOCK_DATA_DIR="+filepath.Join(dir, "data"), "PENSTOCK_SERVER=http://penstock.localhost:1")
	c.WaitDelay = 10 * time.Second
	out, err := c.CombinedOutput()
	if c.ProcessState == nil {
		t.Fatalf("%s:%d: %v", doc, e.line, err)
	}
	if code := c.ProcessState.ExitCode(); code != e.exit {
		t.Errorf("%s:%d: %s: exit code %d, want %d\n%s", doc, e.line, e.command, code, e.exit, out)
	}
	if !matches(string(out), e.want) {
		t.Errorf("%s:%d: %s prints\n%s\nthe document says\n%s", doc, e.line, e.command, out, e.want)
	}
}

func matches(got, want string) bool {
	var p strings.Builder
	for line := range strings.Lines(strings.TrimRight(want, "\n") + "\n") {
		if line == "...\n" {
			p.WriteString(`(?:.*\n)*?`)
			continue
		}
		p.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), `\.\.\.`, `.*`))
	}
	return regexp.MustCompile(`\A` + p.String() + `\z`).MatchString(strings.TrimRight(got, "\n") + "\n")
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		got, want string
		ok        bool
	}{
		{"a\nb\n", "a\nb\n", true},
		{"a\nb\n", "a\n", false},
		{"a\n", "a\nb\n", false},
		{"a\nx\ny\nb\n", "a\n...\nb\n", true},
		{"a\nb\n", "a\n...\nb\n", true},
		{"took 12 ms\n", "took ... ms\n", true},
		{"a.b\n", "axb\n", false},
		{"", "", true},
	} {
		if got := matches(c.got, c.want); got != c.ok {
			t.Errorf("matches(%q, %q) = %v", c.got, c.want, got)
		}
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
