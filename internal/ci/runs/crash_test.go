package runs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/base/bus"
	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/base/failpoint"
	"github.com/penstock-dev/penstock/internal/ci/runs"
	"github.com/penstock-dev/penstock/internal/host/blob"
	"github.com/penstock-dev/penstock/internal/host/store"
	"github.com/penstock-dev/penstock/internal/host/store/storetest"
)

// effects is a workflow whose steps leave one line each in a file.
func effects(file string) map[string]string {
	return map[string]string{".github/workflows/ci.yml": `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: echo one >> ` + file + `
      - run: echo two >> ` + file + `
  b:
    needs: a
    runs-on: ubuntu-latest
    steps:
      - run: echo three >> ` + file + `
`}
}

func readLines(t *testing.T, file string) []string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var lines []string
	return append(lines, strings.Fields(string(b))...)
}

// gone waits a little until nothing matches the pattern.
func gone(t *testing.T, pattern string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		left, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("left behind: %v", left)
			return
		}
	}
}

// finishedEvents counts the events that a run has ended.
func (h *house) finishedEvents() (list []store.Event) {
	h.t.Helper()
	err := h.db.Read(context.Background(), func(q store.Queryer) (err error) {
		list, err = store.EventsAfter(context.Background(), q, event.TypeRunFinished, 0, 100)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return list
}

// TestRunnerDies kills the runner of job a at every point at which it writes
// what happened. Whatever the point, the run ends, no step ran twice, nothing
// of the job stays.
func TestRunnerDies(t *testing.T) {
	for _, tc := range []struct {
		point string
		done  []string // effects that must be there
		ok    bool     // the run succeeds nevertheless
	}{
		{"ci.runner.started.after", nil, false},
		{"ci.runner.step_started.before:2", nil, false},
		{"ci.runner.step_started.after:2", nil, false},
		{"ci.runner.step_finished.before:2", []string{"one"}, false},
		{"ci.runner.step_finished.after:2", []string{"one"}, false},
		{"ci.runner.step_started.after:3", []string{"one"}, false},
		{"ci.runner.step_finished.before:3", []string{"one", "two"}, false},
		{"ci.runner.step_finished.after:4", []string{"one", "two"}, false},
		{"ci.runner.finished.before", []string{"one", "two"}, false},
		{"ci.runner.finished.after", []string{"one", "two", "three"}, true},
	} {
		t.Run(tc.point, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			h.halt()
			h.env = []string{failpoint.Env + "=" + tc.point}
			h.start()
			file := filepath.Join(h.dir, "effects")
			h.push("x", effects(file))
			r := h.wait(1)
			if want := map[bool]string{true: "success", false: "failure"}[tc.ok]; r.Conclusion != want {
				t.Errorf("run ended as %s, want %s", r.Conclusion, want)
			}
			if d := cmp.Diff(tc.done, readLines(t, file)); d != "" {
				t.Errorf("effects (-want +got):\n%s", d)
			}
			if !tc.ok {
				if a := r.Jobs[0]; a.Conclusion != "failure" || !strings.Contains(a.Message, "the runner ended before the job did") {
					t.Errorf("job a: %+v", a)
				}
				if b := r.Jobs[1]; b.Conclusion != "skipped" {
					t.Errorf("job b: %+v", b)
				}
				for _, s := range r.Jobs[0].Steps {
					if s.Status != runs.Completed || s.Conclusion == "" {
						t.Errorf("step left as %+v", s)
					}
				}
			}
			if n := len(h.finishedEvents()); n != 1 {
				t.Errorf("%d events that the run ended", n)
			}
			for _, dir := range []string{"work", "temp", "home", "private", "secrets.json"} {
				gone(t, filepath.Join(h.dir, "jobs", "*", dir))
			}
			h.noTokens()
		})
	}
}

// serviceMode makes this test binary run the service over the directory in the
// variable until its standard input ends.
const serviceMode = "RUNS_TEST_SERVICE"

func beService(dir string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	where, err := storetest.Where(dir)
	if err != nil {
		return err
	}
	db, err := store.Open(ctx, where)
	if err != nil {
		return err
	}
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, failpoint.Env+"=") && !strings.HasPrefix(kv, serviceMode+"=") {
			env = append(env, kv)
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	blobs, err := blob.OpenFiles(filepath.Join(dir, "blobs"))
	if err != nil {
		return err
	}
	s, err := runs.New(ctx, runs.Options{
		DB: db, Blobs: blobs, KeepDirs: time.Nanosecond, Dir: filepath.Join(dir, "jobs"), Source: repository{filepath.Join(dir, "repo")}, Tokens: newTokens(), Pushes: &bus.Topic[event.Push]{},
		ServerURL: "http://penstock.localhost:7080", Runner: runs.ProcessRunner{Program: self, Env: append(env, runnerMode+"=1")},
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return s.Run(ctx)
}

// serve runs the service as a process of its own until it dies.
func serve(t *testing.T, dir, point string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), serviceMode+"="+dir, failpoint.Env+"="+point)
	var out strings.Builder
	cmd.Stderr = &out
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	err = cmd.Run()
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGKILL || ctx.Err() != nil {
		t.Fatalf("service at %s: %v, %v\n%s", point, err, ctx.Err(), out.String())
	}
}

// TestServiceDies kills the service at every point around its durable writes,
// up to the given time it passes. The next one carries on: every step has run
// exactly once, there is one run and one event that it ended.
func TestServiceDies(t *testing.T) {
	for point, times := range map[string]int{
		"ci.runs.created.before": 1, "ci.runs.created.after": 1, "ci.job.started.after": 2, "ci.job.spawn.before": 2, "ci.job.spawn.after": 2,
		"ci.journal.record.before": 2, "ci.journal.record.after": 2, // at least one for each job
		"ci.seal.before": 1, "ci.seal.after": 1, "blob.put.before": 2, "blob.put.after": 2,
	} {
		for n := range times {
			name := fmt.Sprintf("%s:%d", point, n+1)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				h := newHouse(t)
				file := filepath.Join(h.dir, "effects")
				h.halt()
				h.open()
				h.push("x", effects(file))
				h.close()
				serve(t, h.dir, name)
				h.start()
				r := h.wait(1)
				if r.Conclusion != "success" {
					t.Errorf("run ended as %s: %+v", r.Conclusion, r)
				}
				if d := cmp.Diff([]string{"one", "two", "three"}, readLines(t, file)); d != "" {
					t.Errorf("effects (-want +got):\n%s", d)
				}
				list, err := h.service.List(context.Background(), runs.ListQuery{Limit: 10})
				if err != nil || len(list) != 1 {
					t.Errorf("%d runs, %v", len(list), err)
				}
				if n := len(h.finishedEvents()); n != 1 {
					t.Errorf("%d events that the run ended", n)
				}
				log := h.logs(runs.LogQuery{Run: 1})
				for _, line := range []string{"a/2 ##[group]Run echo one", "a/3 ##[group]Run echo two", "b/2 ##[group]Run echo three", "b/3 Job ended as success"} {
					if n := strings.Count(log, line); n != 1 {
						t.Errorf("%q is %d times in the log:\n%s", line, n, log)
					}
				}
			})
		}
	}
}

// TestRestartWhileAJobRuns restarts the service in the middle of a step and
// follows the log over it.
func TestRestartWhileAJobRuns(t *testing.T) {
	h := newHouse(t)
	gate := filepath.Join(h.dir, "gate")
	h.push("x", map[string]string{".github/workflows/ci.yml": `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: |
          echo began
          while [ ! -e ` + gate + ` ]; do sleep 0.02; done
          echo ended
`})
	h.awaitLog(1, "began")
	h.halt()
	h.start()
	time.Sleep(50 * time.Millisecond)
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	log := h.logs(runs.LogQuery{Run: 1, Follow: true})
	if r := h.wait(1); r.Conclusion != "success" || strings.Count(log, "a/2 began\n") != 1 || strings.Count(log, "a/2 ended\n") != 1 {
		t.Errorf("%+v\n%s", r, log)
	}
}

func TestStopAllEndsRunners(t *testing.T) {
	h := newHouse(t)
	h.push("x", map[string]string{".github/workflows/ci.yml": "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo began; sleep 60\n"})
	h.awaitLog(1, "began")
	h.halt()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := runs.StopAll(ctx, filepath.Join(h.dir, "jobs")); err != nil {
		t.Fatal(err)
	}
	h.start()
	if r := h.wait(1); r.Conclusion != "cancelled" {
		t.Errorf("%+v", r)
	}
}
