package actions

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// setupGo is actions/setup-go over the toolchain that is installed: it checks
// that the version asked for is there and downloads nothing.
type setupGo struct{}

func (setupGo) Inputs() map[string]Input {
	return map[string]Input{
		"go-version": {}, "go-version-file": {}, "check-latest": {Default: "false"}, "token": {}, "cache": {Default: "true"},
		"cache-dependency-path": {}, "architecture": {Refused: later}, "go-download-base-url": {Refused: later},
	}
}

var goVersion = regexp.MustCompile(`go(\d+)\.(\d+)(?:\.(\d+))?`)

func (setupGo) Run(ctx context.Context, s Step) error {
	spec := s.Input("go-version")
	if spec == "" && s.Input("go-version-file") != "" {
		text, err := readWorkspaceFile(s, s.Input("go-version-file"))
		if err != nil {
			return fmt.Errorf("go-version-file: %w", err)
		}
		if spec, err = goModVersion(filepath.Base(s.Input("go-version-file")), text); err != nil {
			return err
		}
	}
	have, path, err := installed(ctx, s, []string{"go", "version"}, goVersion)
	if err != nil {
		return err
	}
	if err := check(s, "Go", have, spec); err != nil {
		return err
	}
	home, err := output(ctx, s, "go", "env", "GOPATH")
	if err != nil {
		return err
	}
	s.AddPath(filepath.Join(home, "bin"))
	if s.Input("cache") == "true" {
		s.Printf("Caching between runs is not supported yet; the module cache starts empty.")
	}
	s.Printf("Using Go %s of this machine (%s)", have, path)
	s.SetOutput("go-version", have.String())
	s.SetOutput("cache-hit", "false")
	return nil
}

// goModVersion reads the version from go.mod (its toolchain, else its go line,
// as a minimum) or from a file that holds nothing else.
func goModVersion(name, text string) (string, error) {
	if name != "go.mod" && name != "go.work" {
		return strings.TrimPrefix(strings.TrimSpace(text), "go"), nil
	}
	for _, line := range []string{`(?m)^toolchain\s+go(\S+)`, `(?m)^go\s+(\S+)`} {
		if m := regexp.MustCompile(line).FindStringSubmatch(text); m != nil {
			return ">=" + m[1], nil
		}
	}
	return "", fmt.Errorf("%s names no Go version", name)
}

// setupNode is actions/setup-node over the Node that is installed.
type setupNode struct{}

func (setupNode) Inputs() map[string]Input {
	return map[string]Input{
		"node-version": {}, "node-version-file": {}, "check-latest": {Default: "false"}, "token": {}, "cache": {}, "package-manager-cache": {Default: "true"},
		"cache-dependency-path": {}, "always-auth": {}, "architecture": {Refused: later}, "registry-url": {Refused: later}, "scope": {Refused: later}, "mirror": {Refused: later}, "mirror-token": {},
	}
}

var nodeVersion = regexp.MustCompile(`v(\d+)\.(\d+)\.(\d+)`)

func (setupNode) Run(ctx context.Context, s Step) error {
	spec := s.Input("node-version")
	if spec == "" && s.Input("node-version-file") != "" {
		name := s.Input("node-version-file")
		if filepath.Base(name) == "package.json" {
			return errors.New("node-version-file: package.json is not supported yet by this version of Penstock; use .nvmrc, .node-version or node-version")
		}
		text, err := readWorkspaceFile(s, name)
		if err != nil {
			return fmt.Errorf("node-version-file: %w", err)
		}
		spec = strings.TrimSpace(text)
	}
	have, path, err := installed(ctx, s, []string{"node", "--version"}, nodeVersion)
	if err != nil {
		return err
	}
	if err := check(s, "Node", have, spec); err != nil {
		return err
	}
	if c := s.Input("cache"); c != "" {
		s.Warnf("Caching (cache: %s) between runs is not supported yet by this version of Penstock; dependencies are fetched each time", c)
	}
	s.Printf("Using Node %s of this machine (%s)", have, path)
	s.SetOutput("node-version", "v"+have.String())
	s.SetOutput("cache-hit", "false")
	return nil
}

// check compares what is installed with what is asked for.
func check(s Step, tool string, have version, spec string) error {
	switch spec {
	case "", "stable", "latest", "current", "node", "*", "lts/*":
		if spec != "" && spec != "*" {
			s.Warnf("%s version '%s' is taken to be the one installed here, %s", tool, spec, have)
		}
		return nil
	}
	ok, err := satisfies(have, spec)
	if err != nil {
		return fmt.Errorf("%s version: %w", tool, err)
	}
	if !ok {
		return fmt.Errorf("%s %s is asked for and this machine has %s; Penstock does not download toolchains yet: install the version on the machine, or ask for '%d.%d'", tool, spec, have, have[0], have[1])
	}
	return nil
}

// installed asks a tool for its version.
func installed(ctx context.Context, s Step, args []string, pattern *regexp.Regexp) (version, string, error) {
	path, err := output(ctx, s, "sh", "-c", "command -v "+args[0])
	if err != nil || path == "" {
		return version{}, "", fmt.Errorf("%s is not installed on this machine; install it with the system's package manager", args[0])
	}
	text, err := output(ctx, s, args...)
	if err != nil {
		return version{}, "", err
	}
	m := pattern.FindString(text)
	p, err := parsePartial(strings.TrimPrefix(m, "go"))
	if m == "" || err != nil {
		return version{}, "", fmt.Errorf("%s answers '%s', which holds no version", strings.Join(args, " "), text)
	}
	return p.v, path, nil
}

// output runs a command quietly and returns what it printed.
func output(ctx context.Context, s Step, args ...string) (string, error) {
	var b bytes.Buffer
	code, err := s.Exec(ctx, Command{Args: args, Stdout: &b, Quiet: true})
	if err == nil && code != 0 {
		err = fmt.Errorf("%s ended with exit code %d", args[0], code)
	}
	return strings.TrimSpace(b.String()), err
}

// readWorkspaceFile reads a small file of the workspace.
func readWorkspaceFile(s Step, name string) (string, error) {
	rel, err := relative(s.Job().Workspace, name)
	if err != nil {
		return "", err
	}
	root, err := os.OpenRoot(s.Job().Workspace)
	if err != nil {
		return "", err
	}
	defer root.Close()
	f, err := root.OpenFile(rel, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !fi.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a regular file", name)
	}
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	return string(b), err
}
