package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

func TestMain(m *testing.M) {
	Launch(os.Args)
	if dir := os.Getenv("TEST_START_AND_DIE"); dir != "" {
		// Dies like kill -9 between the fork and the record.
		os.Chmod(dir, 0o500)
		Start(dir, Spec{Name: "orphan", Args: []string{"/bin/touch", filepath.Join(dir, "ran")}})
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func start(t *testing.T, dir, name, script string) *Process {
	t.Helper()
	p, err := Start(dir, Spec{Name: name, Args: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin", "GREETING=hello"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop(context.Background(), 0) })
	return p
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("did not happen: %s", what)
}

func TestStartedProcessIsFoundAndStopped(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, "sleeper", `echo $GREETING from $$; exec sleep 60`)
	found, ok := Find(dir, "sleeper")
	if !ok || found.PID != p.PID || !found.Alive() {
		t.Fatalf("Find gave %+v, %v; want pid %d", found, ok, p.PID)
	}
	eventually(t, "the log says hello", func() bool {
		b, _ := os.ReadFile(LogPath(dir, "sleeper"))
		return strings.Contains(string(b), fmt.Sprintf("hello from %d", p.PID))
	})
	if sid := session(t, p.PID); sid != p.PID {
		t.Errorf("session %d, want its own %d", sid, p.PID)
	}
	if err := found.Stop(t.Context(), 5*time.Second); err != nil {
		t.Error(err)
	}
	if _, ok := Find(dir, "sleeper"); ok || p.Alive() {
		t.Error("still found after Stop")
	}
	if err := found.Stop(t.Context(), time.Second); err != nil {
		t.Errorf("second Stop: %v", err)
	}
}

func session(t *testing.T, pid int) (sid int) {
	t.Helper()
	out, err := exec.Command("ps", "-o", "sid=", "-p", fmt.Sprint(pid)).Output()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Sscan(string(out), &sid)
	return sid
}

func TestStopKillsWhatIgnoresTerm(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, "stubborn", `trap '' TERM; echo ready; while :; do sleep 0.05; done`)
	eventually(t, "it ignores TERM", func() bool { b, _ := os.ReadFile(LogPath(dir, "stubborn")); return len(b) > 0 })
	if err := p.Stop(t.Context(), 50*time.Millisecond); err != nil || p.Alive() {
		t.Errorf("Stop: %v, alive %v", err, p.Alive())
	}
}

func TestReusedPidIsNotTakenForTheProcess(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, "a", `exec sleep 60`)
	for name, other := range map[string]Process{
		"born at another time": {Name: "b", PID: p.PID, Born: p.Born + 1, Boot: p.Boot},
		"of another boot":      {Name: "b", PID: p.PID, Born: p.Born, Boot: "x"},
	} {
		if err := other.record(dir); err != nil {
			t.Fatal(err)
		}
		if _, ok := Find(dir, "b"); ok {
			t.Errorf("a process %s was taken for ours", name)
		}
		if err := other.Stop(t.Context(), 0); err != nil || !p.Alive() {
			t.Errorf("a process %s was stopped (%v)", name, err)
		}
	}
}

func TestNothingRunsWithoutARecord(t *testing.T) {
	dir := t.TempDir()
	if os.Geteuid() == 0 {
		// Root writes into read-only directories, so take the directory away.
		bad := filepath.Join(dir, "gone")
		if _, err := Start(bad, Spec{Name: "x", Args: []string{"/bin/touch", filepath.Join(dir, "ran")}}); err == nil {
			t.Error("Start succeeded without a run directory")
		}
	} else {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "TEST_START_AND_DIE="+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		os.Chmod(dir, 0o700)
	}
	time.Sleep(50 * time.Millisecond)
	if _, err := os.Stat(filepath.Join(dir, "ran")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the program ran: %v", err)
	}
}

func TestSuperviseRestartsAndAdopts(t *testing.T) {
	dir := t.TempDir()
	spec := Spec{Name: "svc", Args: []string{"/bin/sleep", "60"}}
	supervise := func() (pids <-chan int, stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		c, done := make(chan int, 10), make(chan struct{})
		go func() {
			defer close(done)
			if err := Supervise(ctx, dir, spec, slog.New(slog.DiscardHandler), func(p *Process) { c <- p.PID }); err != nil {
				t.Error(err)
			}
		}()
		return c, func() { cancel(); <-done }
	}
	pids, stop := supervise()
	first := <-pids
	p, _ := Find(dir, "svc")
	if err := p.Stop(t.Context(), time.Second); err != nil {
		t.Fatal(err)
	}
	second := <-pids
	if first == second {
		t.Errorf("pid %d was told twice", first)
	}
	stop()
	if p, ok := Find(dir, "svc"); !ok || p.PID != second {
		t.Fatal("the process did not outlive its supervisor")
	}
	pids, stop = supervise()
	if third := <-pids; third != second {
		t.Errorf("started %d beside the running %d", third, second)
	}
	stop()
	p, _ = Find(dir, "svc")
	p.Stop(t.Context(), time.Second)
}

// TestSuperviseReplaces starts the newer program beside the running one, which
// stays known when that does not work.
func TestSuperviseReplaces(t *testing.T) {
	dir := t.TempDir()
	old, err := Start(dir, Spec{Name: "svc", Args: []string{"/bin/sleep", "600"}})
	if err != nil {
		t.Fatal(err)
	}
	defer old.Stop(context.WithoutCancel(t.Context()), time.Second)
	run := func(spec Spec) *Process {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c := make(chan *Process, 1)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = Supervise(ctx, dir, spec, slog.New(slog.DiscardHandler), func(p *Process) {
				select {
				case c <- p:
				default:
				}
			})
		}()
		p := <-c
		if spec.Args[0] == "/bin/false" {
			for { // until it has ended and the old one is recorded again
				if have, ok := Find(dir, "svc"); ok && have.PID == old.PID {
					break
				}
				if ctx.Err() != nil {
					t.Error("the running process is not recorded any more")
					break
				}
				time.Sleep(time.Millisecond)
			}
		}
		cancel()
		<-done
		return p
	}
	if p := run(Spec{Name: "svc", Args: []string{"/bin/sleep", "601"}}); p.PID != old.PID {
		t.Errorf("a process that cannot be taken over was replaced by %d", p.PID)
	}
	if p := run(Spec{Name: "svc", Args: []string{"/bin/sleep", "600"}, TakesOver: true}); p.PID != old.PID {
		t.Errorf("a process that is what is wanted was replaced by %d", p.PID)
	}
	if p := run(Spec{Name: "svc", Args: []string{"/bin/false"}, TakesOver: true}); p.PID == old.PID {
		t.Error("a process with other arguments was adopted")
	}
	p := run(Spec{Name: "svc", Args: []string{"/bin/sleep", "601"}, TakesOver: true})
	defer p.Stop(context.WithoutCancel(t.Context()), time.Second)
	if have, ok := Find(dir, "svc"); p.PID == old.PID || !ok || have.PID != p.PID || !old.Alive() {
		t.Errorf("replaced by %d, recorded %+v, the old one lives: %v", p.PID, have, old.Alive())
	}
	// The same name, another file.
	program := filepath.Join(dir, "sleep")
	copyProgram := func() {
		t.Helper()
		b, err := os.ReadFile("/bin/sleep")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(program+".new", b, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(program+".new", program); err != nil {
			t.Fatal(err)
		}
	}
	copyProgram()
	spec := Spec{Name: "other", Args: []string{program, "600"}, TakesOver: true}
	running, err := Start(dir, spec)
	if err != nil {
		t.Fatal(err)
	}
	defer running.Stop(context.WithoutCancel(t.Context()), time.Second)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) { // the launcher becomes it
		if exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", running.PID)); exe == program {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it did not start")
		}
	}
	if outdated(running, spec) {
		t.Error("outdated at once")
	}
	copyProgram()
	if !outdated(running, spec) {
		t.Error("an upgrade of the file is not seen")
	}
}

func TestNextDelay(t *testing.T) {
	for _, tc := range []struct{ delay, ran, want time.Duration }{
		{0, 0, firstDelay},
		{firstDelay, 0, 2 * firstDelay},
		{8 * time.Second, time.Second, lastDelay},
		{lastDelay, steady, firstDelay},
	} {
		if got := nextDelay(tc.delay, tc.ran); got != tc.want {
			t.Errorf("nextDelay(%v, %v) = %v, want %v", tc.delay, tc.ran, got, tc.want)
		}
	}
}

func TestLockIsExclusive(t *testing.T) {
	dir := t.TempDir()
	release, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(dir); !errors.Is(err, problem.ErrExists) {
		t.Errorf("second lock: %v", err)
	}
	if pid := LockHolder(dir); pid != os.Getpid() {
		t.Errorf("holder %d, want %d", pid, os.Getpid())
	}
	release()
	if pid := LockHolder(dir); pid != 0 {
		t.Errorf("holder %d of a free lock", pid)
	}
	release2, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	release2()
}
