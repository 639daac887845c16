//go:build linux

package sandbox

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	hostexec "github.com/penstock-dev/penstock/internal/host/exec"
	"github.com/penstock-dev/penstock/internal/host/exec/exectest"
)

// warmed opens every session that can be one from a spare.
type warmed struct {
	t *testing.T
	*Runtime
}

func (w warmed) Open(ctx context.Context, spec hostexec.SessionSpec) (hostexec.Session, error) {
	if err := w.Warm(ctx); err != nil {
		return nil, err
	}
	s, err := w.Runtime.Open(ctx, spec)
	if err != nil {
		return nil, err
	}
	fits := spec.Limits == (hostexec.Limits{}) && spec.Network == ""
	for _, m := range spec.Mounts {
		fits = fits && !m.ReadOnly
	}
	if used := fromSpare(s); used != fits {
		// Another program may have changed private files in the meantime, as
		// package managers do. That it never fits is what would be wrong.
		w.t.Logf("session %s: from a spare %t, want %t", spec.ID, used, fits)
	}
	return s, nil
}

func fromSpare(s hostexec.Session) bool {
	in, ok := s.(*session)
	return ok && strings.HasPrefix(in.id, "spare-")
}

func warm(t *testing.T) *Runtime {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "penstock-sandbox-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := testRuntime(t, dir)
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("close runtime: %v", err)
		}
	})
	return r
}

// A session from a spare is in no way different.
func TestConformanceOfSpares(t *testing.T) {
	if testing.Short() {
		t.Skip("10 s of the same as without a spare")
	}
	exectest.Run(t, warmed{t, warm(t)})
}

func TestIsolationOfSpares(t *testing.T) {
	r := warm(t)
	r.firewall.own.Deny = append(r.firewall.own.Deny, exectest.Denied)
	exectest.Isolated(t, warmed{t, r})
}

// openWarm opens a session from a spare; private files of the machine that
// change at the wrong moment make it try again.
func openWarm(t *testing.T, r *Runtime, spec hostexec.SessionSpec) *session {
	t.Helper()
	for range 20 {
		if err := r.Warm(t.Context()); err != nil {
			t.Fatal(err)
		}
		s, err := r.Open(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		if fromSpare(s) {
			return s.(*session)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("spares are never used")
	return nil
}

func TestSpare(t *testing.T) {
	r := warm(t)
	workspace := t.TempDir()
	s := openWarm(t, r, hostexec.SessionSpec{ID: "from-spare", Workspace: workspace, Hosts: map[string]string{"there.example": "127.0.0.1"}})
	var out bytes.Buffer
	code, err := s.Run(t.Context(), hostexec.Command{
		Args: []string{"sh", "-c", "hostname; cat /etc/hostname; stat -c %u:%g /etc/hosts .; grep -c there.example /etc/hosts; echo here >file"},
		Env:  s.Env(), Stdout: &out, Stderr: &out,
	})
	if want := "from-spare\nfrom-spare\n0:0\n0:0\n1\n"; err != nil || code != 0 || out.String() != want {
		t.Errorf("got %q, %d, %v, want %q", out.String(), code, err, want)
	}
	if b, err := os.ReadFile(filepath.Join(workspace, "file")); err != nil || string(b) != "here\n" {
		t.Errorf("workspace: %q, %v", b, err)
	}
	if _, err := r.Open(t.Context(), hostexec.SessionSpec{ID: "from-spare", Workspace: workspace}); !errors.Is(err, problem.ErrExists) {
		t.Errorf("a second one of that name: %v", err)
	}
	if err := r.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Open(t.Context(), hostexec.SessionSpec{ID: "from-spare", Workspace: workspace}); !errors.Is(err, problem.ErrExists) {
		t.Errorf("a second one of that name from a spare: %v", err)
	}
	named := &session{r: r, id: s.spec.ID} // what is under the session's own name
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for _, s := range []*session{s, named} {
		if left := traces(t, r, s); len(left) > 0 {
			t.Errorf("left behind of %s: %v", s.id, left)
		}
	}
}

// What was made private since the spare was opened stays private.
func TestSpareWithOldPlan(t *testing.T) {
	// Below /opt, which sandboxes see.
	dir, err := os.MkdirTemp("/opt", "penstock-spare-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("public"), 0o644); err != nil {
		t.Fatal(err)
	}
	read := func(s hostexec.Session) int {
		code, err := s.Run(t.Context(), hostexec.Command{Args: []string{"cat", secret}, Env: s.Env()})
		if err != nil {
			t.Fatal(err)
		}
		return code
	}
	r := warm(t)
	s := openWarm(t, r, hostexec.SessionSpec{ID: "sees", Workspace: t.TempDir()})
	defer s.Close()
	if read(s) != 0 {
		t.Fatal("a public file is not seen: the test shows nothing")
	}
	if err := r.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(secret, 0o600); err != nil {
		t.Fatal(err)
	}
	r.forgetPlan(t)
	later, err := r.Open(t.Context(), hostexec.SessionSpec{ID: "later", Workspace: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer later.Close()
	if fromSpare(later) || read(later) == 0 {
		t.Error("a file that became private is seen through a spare")
	}
}

// forgetPlan does what some seconds do.
func (r *Runtime) forgetPlan(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	r.plan = plan{}
	r.mu.Unlock()
	files, err := filepath.Glob(filepath.Join(r.runDir, "plan-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
}

// A spare that ended meanwhile is no reason to fail.
func TestSpareGone(t *testing.T) {
	r := warm(t)
	if err := r.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	spare := r.spare
	r.mu.Unlock()
	if err := spare.group.Kill(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		spare.mu.Lock()
		lost := spare.lost
		spare.mu.Unlock()
		if lost {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody notices that the spare is gone")
		}
	}
	s, err := r.Open(t.Context(), hostexec.SessionSpec{ID: "after-a-loss", Workspace: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if fromSpare(s) {
		t.Error("it is the spare")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A runtime that closes takes its spare along.
func TestSpareUnused(t *testing.T) {
	r := warm(t)
	if err := r.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	spare := r.spare
	r.mu.Unlock()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if left := traces(t, r, spare); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
