//go:build linux

// Package exectest is the conformance test of the runtimes: what a caller may
// rely on whichever it has, and what only a sandbox promises.
package exectest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/exec"
)

// Run tests everything that every runtime promises. What is named in but a
// runtime cannot keep where the test runs, and says so.
func Run(t *testing.T, rt exec.Runtime, but ...string) {
	for name, test := range map[string]func(*testing.T, exec.Runtime){
		"environment":         environment,
		"working directory":   workingDirectory,
		"exit codes":          exitCodes,
		"not found":           notFound,
		"output order":        outputOrder,
		"large output":        largeOutput,
		"failing writer":      failingWriter,
		"stdin":               stdin,
		"standard files":      standardFiles,
		"reach":               reach,
		"start":               start,
		"streaming":           streaming,
		"cancel":              cancel,
		"cancel tree":         cancelTree,
		"background":          background,
		"close ends all":      closeEndsAll,
		"close during run":    closeDuringRun,
		"concurrency":         concurrency,
		"workspace":           workspace,
		"login environment":   loginEnvironment,
		"invalid sessions":    invalidSessions,
		"two sessions":        twoSessions,
		"run after close":     runAfterClose,
		"many quick commands": manyQuick,
	} {
		if !slices.Contains(but, name) {
			t.Run(name, func(t *testing.T) { test(t, rt) })
		}
	}
}

var counter struct {
	sync.Mutex
	n int
}

// ID makes a session id that no other test uses.
func ID() string {
	counter.Lock()
	defer counter.Unlock()
	counter.n++
	return fmt.Sprintf("t%d-%d", os.Getpid(), counter.n)
}

// Open opens a session for the test.
func Open(t *testing.T, rt exec.Runtime, change ...func(*exec.SessionSpec)) exec.Session {
	t.Helper()
	s, _ := OpenIn(t, rt, change...)
	return s
}

// OpenIn opens a session and also returns its workspace.
func OpenIn(t *testing.T, rt exec.Runtime, change ...func(*exec.SessionSpec)) (exec.Session, string) {
	t.Helper()
	spec := exec.SessionSpec{ID: ID(), Workspace: t.TempDir()}
	for _, c := range change {
		c(&spec)
	}
	s, err := rt.Open(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s, spec.Workspace
}

// Sh runs a shell script and returns its output, both streams together.
func Sh(t *testing.T, s exec.Session, script string) (string, int) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	var out bytes.Buffer
	code, err := s.Run(ctx, exec.Command{Args: []string{"sh", "-c", script}, Env: s.Env(), Stdout: &out, Stderr: &out})
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out.String())
	}
	return out.String(), code
}

// Must runs a shell script that has to succeed.
func Must(t *testing.T, s exec.Session, script string) string {
	t.Helper()
	out, code := Sh(t, s, script)
	if code != 0 {
		t.Fatalf("%s: exit code %d\n%s", script, code, out)
	}
	return out
}

func environment(t *testing.T, rt exec.Runtime) {
	s := Open(t, rt)
	t.Setenv("LEAK", "from the test")
	want := []string{"A=1", "B=two words", "C=a=b", "D=", "LONG=" + strings.Repeat("x", 100<<10), "PATH=" + os.Getenv("PATH"), "Z=line\nbreak"}
	var out bytes.Buffer
	code, err := s.Run(t.Context(), exec.Command{Args: []string{"env", "-0"}, Env: want, Stdout: &out})
	if err != nil || code != 0 {
		t.Fatal(code, err)
	}
	got := strings.Split(strings.TrimSuffix(out.String(), "\x00"), "\x00")
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func workingDirectory(t *testing.T, rt exec.Runtime) {
	s, ws := OpenIn(t, rt)
	if got := strings.TrimSpace(Must(t, s, "pwd")); got != ws {
		t.Errorf("default directory is %s, want the workspace %s", got, ws)
	}
	Must(t, s, "mkdir -p sub/dir")
	var out bytes.Buffer
	code, err := s.Run(t.Context(), exec.Command{Args: []string{"pwd"}, Env: s.Env(), Dir: filepath.Join(ws, "sub/dir"), Stdout: &out})
	if err != nil || code != 0 || strings.TrimSpace(out.String()) != filepath.Join(ws, "sub/dir") {
		t.Errorf("got %q, %d, %v", out.String(), code, err)
	}
	if _, err := s.Run(t.Context(), exec.Command{Args: []string{"pwd"}, Env: s.Env(), Dir: "/does/not/exist"}); err == nil {
		t.Error("a missing working directory is no error")
	}
}

func exitCodes(t *testing.T, rt exec.Runtime) {
	s := Open(t, rt)
	for script, want := range map[string]int{
		"exit 0": 0, "exit 1": 1, "exit 255": 255, "kill -KILL $$": 137, "kill -TERM $$": 143, "kill -INT $$": 130, "kill -SEGV $$": 139,
		"no-such-program-here": 127,
	} {
		if _, got := Sh(t, s, script); got != want {
			t.Errorf("%s: exit code %d, want %d", script, got, want)
		}
	}
}

func notFound(t *testing.T, rt exec.Runtime) {
	s, ws := OpenIn(t, rt)
	for _, name := range []string{"no-such-program-here", "/no/such/program", "./nothing"} {
		_, err := s.Run(t.Context(), exec.Command{Args: []string{name}, Env: s.Env()})
		if !errors.Is(err, problem.ErrNotFound) {
			t.Errorf("%s: got %v, want %v", name, err, problem.ErrNotFound)
		}
	}
	// Looked up in the command's PATH, not in ours and not in the workspace.
	Must(t, s, "mkdir bin; printf '#!/bin/sh\\necho found' > bin/only-here; chmod +x bin/only-here; cp bin/only-here in-workspace")
	var out bytes.Buffer
	if _, err := s.Run(t.Context(), exec.Command{Args: []string{"only-here"}, Env: []string{"PATH=/usr/bin:" + ws + "/bin"}, Stdout: &out}); err != nil || out.String() != "found\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
	if _, err := s.Run(t.Context(), exec.Command{Args: []string{"in-workspace"}, Env: []string{"PATH=:/usr/bin:"}}); !errors.Is(err, problem.ErrNotFound) {
		t.Errorf("an empty PATH entry finds programs of the workspace: %v", err)
	}
	if _, err := s.Run(t.Context(), exec.Command{}); err == nil {
		t.Error("a command without arguments is no error")
	}
}

func outputOrder(t *testing.T, rt exec.Runtime) {
	s := Open(t, rt)
	var want strings.Builder
	for i := range 200 {
		fmt.Fprintf(&want, "out %d\nerr %d\n", i, i)
	}
	got := Must(t, s, `i=0; while [ $i -lt 200 ]; do echo "out $i"; echo "err $i" >&2; i=$((i+1)); done`)
	if d := cmp.Diff(want.String(), got); d != "" {
		t.Error(d)
	}
	var out, errw bytes.Buffer
	if _, err := s.Run(t.Context(), exec.Command{Args: []string{"sh", "-c", "echo o; echo e >&2"}, Env: s.Env(), Stdout: &out, Stderr: &errw}); err != nil {
		t.Fatal(err)
	}
	if out.String() != "o\n" || errw.String() != "e\n" {
		t.Errorf("streams are mixed: %q, %q", out.String(), errw.String())
	}
}

type countWriter struct{ n int64 }

func (w *countWriter) Write(p []byte) (int, error) {
	w.n += int64(len(p))
	return len(p), nil
}

func largeOutput(t *testing.T, rt exec.Runtime) {
	s := Open(t, rt)
	const size = 100 << 20
	var w countWriter
	before := peakMemory(t)
	code, err := s.Run(t.Context(), exec.Command{Args: []string{"head", "-c", fmt.Sprint(size), "/dev/zero"}, Env: s.Env(), Stdout: &w})
	if err != nil || code != 0 {
		t.Fatal(code, err)
	}
	if w.n != size {
		t.Errorf("got %d bytes, want %d", w.n, size)
	}
	if grew := peakMemory(t) - before; grew > 16<<20 {
		t.Errorf("streaming %d bytes took %d bytes of memory", size, grew)
	}
}

func peakMemory(t *testing.T) int64 {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return u.Maxrss << 10
}

type failWriter struct{}

var errFull = errors.New("disk full")

func (failWriter) Write([]byte) (int, error) { return 0, errFull }

func failingWriter(t *testing.T, rt exec.Runtime) {
	s, ws := OpenIn(t, rt)
	_, err := s.Run(t.Context(), exec.Command{Args: []string{"sh", "-c", "echo 1; sleep 0.1; echo 2 && touch went-on"}, Env: s.Env(), Stdout: failWriter{}})
	if !errors.Is(err, errFull) {
		t.Errorf("got %v, want %v", err, errFull)
	}
	if _, err := os.Stat(filepath.Join(ws, "went-on")); err != nil {
		t.Error("a failing writer broke the command:", err)
	}
}

func stdin(t *testing.T, rt exec.Runtime) {
	s := Open(t, rt)
	var out bytes.Buffer
	in := strings.Repeat("some input\n", 100_000)
	code, err := s.Run(t.Context(), exec.Command{Args: []string{"cat"}, Env: s.Env(), Stdin: strings.NewReader(in), Stdout: &out})
	if err != nil || code != 0 || out.String() != in {
		t.Errorf("cat: %d bytes, code %d, %v", out.Len(), code, err)
	}
	if got := Must(t, s, "cat | wc -c"); strings.TrimSpace(got) != "0" {
		t.Errorf("without input, %s bytes could be read", got)
	}
	// A command that does not read its input ends all the same.
	r, w := io.Pipe()
	defer w.Close()
	if code, err := s.Run(t.Context(), exec.Command{Args: []string{"true"}, Env: s.Env(), Stdin: r}); err != nil || code != 0 {
		t.Error(code, err)
	}
}

// streaming tests that a line arrives while the command goes on.
func streaming(t *testing.T, rt exec.Runtime) {
	s, ws := OpenIn(t, rt)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	out := &firstLine{then: func() {
		if err := os.WriteFile(filepath.Join(ws, "go"), nil, 0o644); err != nil {
			t.Error(err)
		}
	}}
	code, err := s.Run(ctx, exec.Command{Args: []string{"sh", "-c", "echo 1; while [ ! -e go ]; do sleep 0.02; done; echo 2"}, Env: s.Env(), Stdout: out})
	if err != nil || code != 0 || out.b.String() != "1\n2\n" {
		t.Errorf("got %q, %d, %v", out.b.String(), code, err)
	}
}
