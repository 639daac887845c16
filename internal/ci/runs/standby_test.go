//go:build unix

package runs

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/ci/jobdir"
	"github.com/penstock-dev/penstock/internal/ci/workflow"
)

// standbys runs a StandbyRunner whose program is this test binary.
func standbys(t *testing.T) (r *StandbyRunner, stop func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r = NewStandbyRunner(ProcessRunner{Program: self, Env: append(os.Environ(), "RUNS_TEST_RUNNER=1")}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	stop = func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
		ended <- context.Canceled
	}
	t.Cleanup(stop)
	return r, stop
}

// waiting returns the process that waits for a job.
func (r *StandbyRunner) waiting(t *testing.T) *os.Process {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		r.mu.Lock()
		s := r.next
		r.mu.Unlock()
		if s != nil {
			return s.cmd.Process
		}
		if time.Now().After(deadline) {
			t.Fatal("no runner waits")
		}
	}
}

// give starts a job and returns the process that took it, and how it ended.
func (r *StandbyRunner) give(t *testing.T) (pid int, conclusion string) {
	t.Helper()
	w, findings := workflow.Parse("f.yml", []byte("on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: pwd >&2\n"))
	if w == nil {
		t.Fatal(findings)
	}
	dir := jobdir.Dir(filepath.Join(t.TempDir(), "job"))
	lock, err := dir.Lock()
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	err = dir.Prepare(jobdir.Spec{
		JobID: "1-a", Name: "a", Repo: "demo/shop", Job: w.Job("a"), TimeoutMinutes: 1, ServerURL: "http://penstock.localhost:7080",
		GitHub: []byte(`{"repository": "demo/shop", "event": {}}`),
	}, jobdir.Secrets{})
	if err != nil {
		t.Fatal(err)
	}
	wait, err := r.Start(dir, lock)
	if err != nil {
		t.Fatal(err)
	}
	lock.Close()
	wait()
	if alive, err := dir.Alive(); err != nil || alive {
		t.Errorf("the lock is held after the end: %v", err)
	}
	entries, _, err := dir.ReadJournal(0)
	if err != nil {
		t.Fatal(err)
	}
	end, ok := jobdir.Terminal(entries)
	if !ok {
		log, _ := os.ReadFile(dir.RunnerLog())
		t.Fatalf("the job did not end: %+v\n%s", entries, log)
	}
	b, err := os.ReadFile(filepath.Join(string(dir), "lock"))
	if err != nil {
		t.Fatal(err)
	}
	if pid, err = strconv.Atoi(string(b)); err != nil {
		t.Fatalf("the lock says %q", b)
	}
	return pid, end.Conclusion
}

func TestStandby(t *testing.T) {
	r, stop := standbys(t)
	first := r.waiting(t).Pid
	if pid, got := r.give(t); got != "success" || pid != first {
		t.Errorf("process %d: %q, want %d to succeed", pid, got, first)
	}
	second := r.waiting(t).Pid
	if second == first {
		t.Error("the runner that has had its job waits for another")
	}
	stop()
	if err := syscall.Kill(second, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the runner without a job is still there: %v", err)
	}
	// Without one that waits, a job starts as ever.
	if _, got := r.give(t); got != "success" {
		t.Errorf("without a runner that waits: %q", got)
	}
}

// What is wrong with the runner that waits is not the job's affair.
func TestStandbyBroken(t *testing.T) {
	for name, breakIt := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "does not answer": syscall.SIGSTOP} {
		t.Run(name, func(t *testing.T) {
			r, _ := standbys(t)
			p := r.waiting(t)
			if err := p.Signal(breakIt); err != nil {
				t.Fatal(err)
			}
			if breakIt == syscall.SIGSTOP {
				r.answer = 50 * time.Millisecond
			}
			if pid, got := r.give(t); got != "success" || pid == p.Pid {
				t.Errorf("process %d: %q, want another than %d to succeed", pid, got, p.Pid)
			}
			for deadline := time.Now().Add(30 * time.Second); !errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the broken runner is still there")
				}
			}
		})
	}
}
