//go:build linux

package sandbox

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	hostexec "github.com/penstock-dev/penstock/internal/host/exec"
)

// traces lists what a session has on the host.
func traces(t *testing.T, r *Runtime, s *session) []string {
	t.Helper()
	var out []string
	for _, p := range []string{s.bundle(), s.bundle() + ".lock", s.scratch(), filepath.Join(runcState(r.runDir), containerName(r.runDir, s.id))} {
		if exists(p) {
			out = append(out, p)
		}
	}
	groups, err := filepath.Glob("/sys/fs/cgroup/*/penstock-ci/" + containerName(r.runDir, s.id))
	if err != nil {
		t.Fatal(err)
	}
	out = append(out, groups...)
	mounts, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), s.bundle()) || strings.Contains(string(mounts), s.scratch()) {
		out = append(out, "a mount")
	}
	if s.slot.n > 0 {
		if _, err := net.InterfaceByName(s.slot.interfaceName()); err == nil {
			out = append(out, s.slot.interfaceName())
		}
	}
	if s.pid > 0 && exists(fmt.Sprintf("/proc/%d", s.pid)) {
		if cmd, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", s.pid)); err == nil && len(cmd) > 0 {
			out = append(out, "the agent")
		}
	}
	return out
}

func testRuntime(t *testing.T, dir string) *Runtime {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("sandboxes need root")
	}
	r, err := New(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestCloseLeavesNothing(t *testing.T) {
	r := testRuntime(t, t.TempDir())
	opened, err := r.Open(t.Context(), hostexec.SessionSpec{ID: "leaves-nothing", Workspace: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s := opened.(*session)
	if _, err := s.Run(t.Context(), hostexec.Command{Args: []string{"sh", "-c", "setsid sleep 1000 & mkdir -p /a/b && touch /a/b/c"}, Env: s.Env()}); err != nil {
		t.Fatal(err)
	}
	for _, tr := range traces(t, r, s) {
		if tr == "a mount" {
			t.Error("a mount of the session is visible on the host")
		}
	}
	if n := len(traces(t, r, s)); n < 6 {
		t.Fatalf("an open session has only %d traces: the test looks in the wrong places", n)
	}
	// The same id is taken.
	if again, err := r.Open(t.Context(), hostexec.SessionSpec{ID: "leaves-nothing", Workspace: t.TempDir()}); err == nil {
		again.Close()
		t.Error("an id can be used twice at a time")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if left := traces(t, r, s); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := r.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	// What all sandboxes of the machine share stays while others use it.
	used := true
	if err := withMachineLock(t.Context(), func() (err error) { used, err = slotsInUse(); return err }); err != nil {
		t.Fatal(err)
	}
	if !used && exists(r.runDir) {
		t.Errorf("the runtime left %s", r.runDir)
	}
}

// TestHelperOwner is not a test: it is the process that the next test kills.
func TestHelperOwner(t *testing.T) {
	dir := os.Getenv("SANDBOX_TEST_DIR")
	if dir == "" {
		t.Skip("only run by TestSweep")
	}
	r := testRuntime(t, filepath.Join(dir, "sandboxes"))
	s, err := r.Open(t.Context(), hostexec.SessionSpec{ID: "crash", Workspace: filepath.Join(dir, "workspace")})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("pid", s.(*session).pid, "slot", s.(*session).slot.n)
	_, err = s.Run(t.Context(), hostexec.Command{Args: []string{"sh", "-c", "setsid sleep 1000 & sleep 1000"}, Env: s.Env()})
	t.Log(err)
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	r := testRuntime(t, filepath.Join(dir, "sandboxes"))
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := os.Mkdir(filepath.Join(dir, "workspace"), 0o755); err != nil {
		t.Fatal(err)
	}
	crash := func() *session {
		cmd := exec.Command(os.Args[0], "-test.run=^TestHelperOwner$", "-test.v")
		cmd.Env = append(os.Environ(), "SANDBOX_TEST_DIR="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		s := &session{r: r, id: "crash"}
		var text strings.Builder
		for sc := bufio.NewScanner(out); sc.Scan(); {
			text.WriteString(sc.Text() + "\n")
			if n, _ := fmt.Sscanf(sc.Text(), "pid %d slot %d", &s.pid, &s.slot.n); n == 2 {
				break
			}
		}
		if s.pid == 0 {
			t.Fatalf("the owner did not open a session: %s", text.String())
		}
		// While it lives, nobody sweeps it.
		if n, err := r.Sweep(t.Context()); err != nil || !exists(s.bundle()) {
			t.Errorf("sweep of a living session: %d, %v", n, err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
		return s
	}

	s := crash()
	// The processes and the interface go by themselves.
	gone := func() bool {
		for _, tr := range traces(t, r, s) {
			if tr == "the agent" || tr == s.slot.interfaceName() {
				return false
			}
		}
		return true
	}
	for end := time.Now().Add(10 * time.Second); !gone(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after the owner's death still there: %v", traces(t, r, s))
		}
	}
	if len(traces(t, r, s)) == 0 {
		t.Fatal("nothing is left to sweep: the test shows nothing")
	}
	if n, err := r.Sweep(t.Context()); n < 1 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
	if left := traces(t, r, s); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}

	// A new session under the id of a crashed one removes its rest itself.
	s = crash()
	opened, err := r.Open(t.Context(), hostexec.SessionSpec{ID: "crash", Workspace: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if code, err := opened.Run(t.Context(), hostexec.Command{Args: []string{"true"}, Env: opened.Env()}); err != nil || code != 0 {
		t.Error(code, err)
	}
	if err := opened.Close(); err != nil {
		t.Error(err)
	}
	if left := traces(t, r, s); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A restart of the machine empties /run, but not the disk.
func TestSweepAfterReboot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), `odd[\name`)
	r := testRuntime(t, dir)
	defer r.Close()
	old := filepath.Join(dir, scratchPrefix+"before")
	if err := os.MkdirAll(filepath.Join(old, "upper0", "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if n, err := r.Sweep(t.Context()); n < 1 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
	if exists(old) {
		t.Errorf("%s is still there", old)
	}
	if exists(r.runDir) && len(globs(t, filepath.Join(r.runDir, "*.lock"))) > 0 {
		t.Error("a lock is left")
	}
}

func globs(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestAgentDies(t *testing.T) {
	r := testRuntime(t, t.TempDir())
	defer r.Close()
	opened, err := r.Open(t.Context(), hostexec.SessionSpec{ID: "agent-dies", Workspace: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s := opened.(*session)
	time.AfterFunc(300*time.Millisecond, func() {
		p, err := os.FindProcess(s.pid)
		if err == nil {
			_ = p.Kill()
		}
	})
	if _, err := s.Run(t.Context(), hostexec.Command{Args: []string{"sleep", "1000"}, Env: s.Env()}); err == nil || !strings.Contains(err.Error(), errGone.Error()) {
		t.Errorf("got %v, want %v", err, errGone)
	}
	if _, err := s.Run(t.Context(), hostexec.Command{Args: []string{"true"}, Env: s.Env()}); err == nil {
		t.Error("a dead sandbox runs commands")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if left := traces(t, r, s); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
