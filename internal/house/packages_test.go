package house

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/penstock-dev/penstock"

// pkg is the part of `go list -json` that the tests read.
type pkg struct {
	Dir, ImportPath, Name string

	GoFiles, IgnoredGoFiles, TestGoFiles, XTestGoFiles []string
	Imports, TestImports, XTestImports                 []string
}

// packages lists the packages of the module that dir is in, with the tags of
// the heavy tests so that those obey the same rules.
func packages(t *testing.T, dir string) []pkg {
	t.Helper()
	c := exec.CommandContext(t.Context(), "go", "list", "-tags=e2e,bench", "-json=Dir,ImportPath,Name,GoFiles,IgnoredGoFiles,TestGoFiles,XTestGoFiles,Imports,TestImports,XTestImports", modulePath(t, dir)+"/...")
	c.Dir = dir
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		t.Fatalf("go list in %s: %v\n%s", dir, err, errs.Bytes())
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("read go list's answer: %v", err)
		}
		all = append(all, p)
	}
	if len(all) == 0 {
		t.Fatalf("go list in %s found no packages", dir)
	}
	return all
}

func modulePath(t *testing.T, dir string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), "go", "list", "-m")
	c.Dir = dir
	out, err := c.Output()
	if err != nil {
		t.Fatalf("go list -m in %s: %v", dir, err)
	}
	return strings.TrimSpace(string(out))
}

// TestPackageComments wants one comment on every package, in one file: the
// place where a reader learns what the room is for.
func TestPackageComments(t *testing.T) {
	for _, p := range slices.Concat(packages(t, ".."), packages(t, "../../node")) {
		// Files for other platforms may repeat the comment: a build sees one.
		with := commented(t, p, p.GoFiles)
		if len(with) == 0 {
			with = commented(t, p, p.IgnoredGoFiles)
		}
		switch {
		case len(with) == 0 && len(p.GoFiles)+len(p.IgnoredGoFiles) > 0:
			t.Errorf("package %s has no comment that says what it is for", p.ImportPath)
		case len(with) > 1:
			t.Errorf("package %s has comments in several files, keep one: %s", p.ImportPath, strings.Join(with, ", "))
		}
		if slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "types", "misc", "shared"}, p.Name) {
			t.Errorf("package %s: the name %q says nothing; name it for what it does", p.ImportPath, p.Name)
		}
	}
}

// commented returns which of the files carry a comment on the package.
func commented(t *testing.T, p pkg, files []string) []string {
	t.Helper()
	var with []string
	for _, f := range files {
		ast, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, f), nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Errorf("parse %s: %v", f, err)
			continue
		}
		if ast.Name.Name != p.Name || ast.Doc.Text() == "" {
			continue
		}
		with = append(with, f)
		want := "Package " + p.Name + " "
		if p.Name == "main" {
			want = "Command " + filepath.Base(p.Dir) + " "
		}
		if !strings.HasPrefix(ast.Doc.Text(), want) {
			t.Errorf("%s/%s: the package comment begins %q, want %q", p.ImportPath, f, firstLine(ast.Doc.Text()), want+"...")
		}
	}
	return with
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
