//go:build linux

package exectest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/exec"
)

// marked counts the processes of the machine that carry the mark in their
// command line.
func marked(t *testing.T, mark string) int {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err == nil && bytes.Contains(data, []byte(mark)) {
			n++
		}
	}
	return n
}

// newMark is a number that sleep(1) takes and nothing else has.
func newMark() string {
	return fmt.Sprintf("98%d.%d", os.Getpid(), time.Now().UnixNano()%1_000_000_000)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not within a minute: " + what)
		}
	}
}

// cancelAfter runs the script, cancels once it has written a line, and returns
// its output.
func cancelAfter(t *testing.T, s exec.Session, grace time.Duration, script string) (string, time.Duration) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out := &firstLine{then: stop}
	_, err := s.Run(ctx, exec.Command{Args: []string{"sh", "-c", script}, Env: s.Env(), Stdout: out, Stderr: out, Grace: grace})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	out.mu.Lock()
	defer out.mu.Unlock()
	return out.b.String(), time.Since(out.at)
}

type firstLine struct {
	mu   sync.Mutex
	b    bytes.Buffer
	at   time.Time
	then func()
}

func (w *firstLine) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.at.IsZero() {
		w.at = time.Now()
		w.then()
	}
	return w.b.Write(p)
}

func cancel(t *testing.T, rt exec.Runtime) {
	s := Open(t, rt)
	const long, short = time.Minute, 300 * time.Millisecond
	for name, tc := range map[string]struct {
		script, want string
		grace, least time.Duration
	}{
		"interrupt ends it":     {"echo go; exec sleep 100", "go\n", long, 0},
		"the trap's output":     {"trap 'echo int; exit' INT; echo go; while :; do sleep 0.05; done", "go\nint\n", long, 0},
		"terminate after grace": {"trap '' INT; trap 'echo term; exit' TERM; echo go; while :; do sleep 0.05; done", "go\nterm\n", short, short},
		"kill after both":       {"trap '' INT TERM; echo go; while :; do sleep 0.05; done", "go\n", short, 2 * short},
	} {
		t.Run(name, func(t *testing.T) {
			got, took := cancelAfter(t, s, tc.grace, tc.script)
			got = strings.ReplaceAll(got, "Terminated\n", "") // a shell about its sleep
			if got != tc.want {
				t.Errorf("output %q, want %q", got, tc.want)
			}
			if most := tc.least + 50*time.Second; took < tc.least || took > most {
				t.Errorf("took %v, want between %v and %v", took, tc.least, most)
			}
		})
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := s.Run(ctx, exec.Command{Args: []string{"true"}, Env: s.Env()}); !errors.Is(err, context.Canceled) {
		t.Errorf("after the context's end: %v", err)
	}
}

func cancelTree(t *testing.T, rt exec.Runtime) {
	s := Open(t, rt)
	for name, script := range map[string]string{
		"children":           "sleep MARK & sleep MARK & echo go; wait",
		"own session":        "setsid sleep MARK & echo go; wait",
		"ignores everything": "(trap '' INT TERM HUP; sleep MARK) & (trap '' INT TERM HUP; setsid sh -c \"trap '' INT TERM; sleep MARK; :\") & sleep 0.2; echo go; wait",
		"keeps on forking":   "f() { while :; do setsid sleep MARK & sleep 0.02; done; }; f & setsid sh -c 'while :; do sleep MARK & sleep 0.02; done' & sleep 0.3; echo go; sleep MARK",
		"leaves when asked":  "trap exit INT; (trap '' INT; sleep MARK) & echo go; while :; do sleep 0.05; done",
	} {
		t.Run(name, func(t *testing.T) {
			mark := newMark()
			cancelAfter(t, s, 200*time.Millisecond, strings.ReplaceAll(script, "MARK", mark))
			eventually(t, "all descendants are gone", func() bool { return marked(t, mark) == 0 })
		})
	}
	// The session lives on.
	if got := Must(t, s, "echo fine"); got != "fine\n" {
		t.Errorf("after the cancels: %q", got)
	}
}

func background(t *testing.T, rt exec.Runtime) {
	s, ws := OpenIn(t, rt)
	mark := newMark()
	start := time.Now()
	// It keeps writing to the output of a command that has ended.
	got := Must(t, s, "echo started; (while [ ! -e stop ]; do echo tick; sleep 0.05; done; echo > stopped; sleep "+mark+") & ")
	if !strings.HasPrefix(got, "started\n") {
		t.Errorf("output %q", got)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("a command with a background process took %v", took)
	}
	time.Sleep(300 * time.Millisecond)
	Must(t, s, "touch stop")
	eventually(t, "the background process still runs", func() bool {
		_, err := os.Stat(filepath.Join(ws, "stopped"))
		return err == nil && marked(t, mark) > 0
	})
	// Stopping another command does not touch it.
	cancelAfter(t, s, 200*time.Millisecond, "echo go; sleep 100")
	if marked(t, mark) == 0 {
		t.Error("stopping one command ended the process that another had left")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	eventually(t, "the background process ends with the session", func() bool { return marked(t, mark) == 0 })
}

func closeEndsAll(t *testing.T, rt exec.Runtime) {
	s, _ := OpenIn(t, rt)
	mark := newMark()
	Must(t, s, strings.ReplaceAll("setsid sleep MARK >/dev/null 2>&1 & (setsid sleep MARK >/dev/null 2>&1 &) ; sleep MARK >/dev/null 2>&1 &", "MARK", mark))
	eventually(t, "three processes run", func() bool { return marked(t, mark) == 3 })
	for range 2 { // twice is fine
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	eventually(t, "they are gone", func() bool { return marked(t, mark) == 0 })
}

func closeDuringRun(t *testing.T, rt exec.Runtime) {
	s := Open(t, rt)
	mark := newMark()
	done := make(chan struct{})
	go func() {
		defer close(done)
		code, err := s.Run(context.Background(), exec.Command{Args: []string{"sleep", mark}, Env: s.Env()})
		if err == nil && code == 0 {
			t.Error("a command that was ended by Close succeeded")
		}
	}()
	eventually(t, "it runs", func() bool { return marked(t, mark) > 0 })
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("Run does not return after Close")
	}
}

func runAfterClose(t *testing.T, rt exec.Runtime) {
	s := Open(t, rt)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Run(t.Context(), exec.Command{Args: []string{"true"}, Env: s.Env()}); err == nil {
		t.Error("a closed session runs commands")
	}
}

func concurrency(t *testing.T, rt exec.Runtime) {
	s := Open(t, rt)
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			var out bytes.Buffer
			code, err := s.Run(t.Context(), exec.Command{
				Args: []string{"sh", "-c", fmt.Sprintf("read x; echo $x; sleep 0.1; exit %d", i)}, Env: s.Env(),
				Stdin: strings.NewReader(fmt.Sprintf("line %d\n", i)), Stdout: &out,
			})
			if err != nil || code != i || out.String() != fmt.Sprintf("line %d\n", i) {
				t.Errorf("command %d: code %d, output %q, %v", i, code, out.String(), err)
			}
		})
	}
	wg.Wait()
}

func manyQuick(t *testing.T, rt exec.Runtime) {
	s := Open(t, rt)
	for i := range 100 {
		if code, err := s.Run(t.Context(), exec.Command{Args: []string{"true"}, Env: s.Env()}); code != 0 || err != nil {
			t.Fatalf("command %d: %d, %v", i, code, err)
		}
	}
}

func workspace(t *testing.T, rt exec.Runtime) {
	s, ws := OpenIn(t, rt)
	if err := os.WriteFile(filepath.Join(ws, "in"), []byte("from outside"), 0o600); err != nil {
		t.Fatal(err)
	}
	Must(t, s, "cat in > out; mkdir d; ln -s ../in d/link; echo more >> in")
	out, err := os.ReadFile(filepath.Join(ws, "d/link"))
	if err != nil || string(out) != "from outsidemore\n" {
		t.Errorf("got %q, %v", out, err)
	}
	for _, n := range []string{"out", "d", "d/link"} {
		if a, b := Owner(t, ws), Owner(t, filepath.Join(ws, n)); a != b {
			t.Errorf("%s belongs to %s, want %s as the workspace", n, b, a)
		}
	}
	got := strings.TrimSpace(Must(t, s, "stat -c %u in out; id -u"))
	f := strings.Fields(got)
	if len(f) != 3 || f[0] != f[2] || f[1] != f[2] {
		t.Errorf("owners of in and out, and the user, are %v", f)
	}
}

func loginEnvironment(t *testing.T, rt exec.Runtime) {
	t.Setenv("PENSTOCK_TEST_SECRET", "secret")
	s := Open(t, rt)
	for _, kv := range s.Env() {
		if strings.HasPrefix(kv, "PENSTOCK_") {
			t.Errorf("the login environment has %s", kv)
		}
	}
	Must(t, s, `[ -d "$HOME" ] && [ -w "$HOME" ] && [ -w "${TMPDIR:-/tmp}" ] && command -v sh`)
}

func invalidSessions(t *testing.T, rt exec.Runtime) {
	ok := exec.SessionSpec{ID: ID(), Workspace: t.TempDir()}
	for name, change := range map[string]func(*exec.SessionSpec){
		"empty id":          func(s *exec.SessionSpec) { s.ID = "" },
		"id with a slash":   func(s *exec.SessionSpec) { s.ID = "a/b" },
		"long id":           func(s *exec.SessionSpec) { s.ID = strings.Repeat("a", 41) },
		"no workspace":      func(s *exec.SessionSpec) { s.Workspace = "" },
		"missing workspace": func(s *exec.SessionSpec) { s.Workspace = "/does/not/exist" },
		"forward not local": func(s *exec.SessionSpec) { s.Forward = map[string]string{"0.0.0.0:80": "127.0.0.1:80"} },
		"forward no port":   func(s *exec.SessionSpec) { s.Forward = map[string]string{"127.0.0.1": "127.0.0.1:80"} },
		"hosts not an ip":   func(s *exec.SessionSpec) { s.Hosts = map[string]string{"name": "other"} },
		"relative mount":    func(s *exec.SessionSpec) { s.Mounts = []exec.Mount{{Source: "a", Target: "/b"}} },
		"mount that is gone": func(s *exec.SessionSpec) {
			s.Mounts = []exec.Mount{{Source: "/does/not/exist", Target: "/does/not/exist"}}
		},
	} {
		spec := ok
		change(&spec)
		s, err := rt.Open(t.Context(), spec)
		if err == nil {
			t.Errorf("%s: accepted", name)
			s.Close()
			continue
		}
		var p *problem.Error
		if !errors.As(err, &p) || p.Hint == "" {
			t.Errorf("%s: no error for users with a hint: %v", name, err)
		}
	}
}

func twoSessions(t *testing.T, rt exec.Runtime) {
	a, b := Open(t, rt), Open(t, rt)
	mark := newMark()
	Must(t, b, "sleep "+mark+" >/dev/null 2>&1 &")
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if marked(t, mark) != 1 {
		t.Error("closing one session ended a process of the other")
	}
	Must(t, b, "true")
}
