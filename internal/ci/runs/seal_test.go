package runs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/ci/runs"
	"github.com/penstock-dev/penstock/internal/host/blob"
)

const talkative = `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: |
          echo began
          while [ ! -e GATE ]; do sleep 0.02; done
          for i in $(seq 0 999); do echo "line $i"; done
          echo 'a *summary*' >> $GITHUB_STEP_SUMMARY
        shell: bash {0}
      - run: echo last words
  b:
    needs: a
    if: failure()
    runs-on: ubuntu-latest
    steps:
      - run: echo never
`

// pushTalkative pushes a workflow whose first step waits for the file it
// returns.
func (h *house) pushTalkative() (gate string) {
	h.t.Helper()
	gate = filepath.Join(h.dir, "gate")
	h.push("x", map[string]string{".github/workflows/ci.yml": strings.ReplaceAll(talkative, "GATE", gate)})
	return gate
}

func openGate(t *testing.T, gate string) {
	t.Helper()
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// awaitGone waits until the directories of jobs are removed.
func (h *house) awaitGone() error {
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		left, err := filepath.Glob(filepath.Join(h.dir, "jobs", "*"))
		if err != nil || len(left) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("still there: %v", left)
		}
	}
}

// TestLogsOutliveTheDirectory: what is read of a job is the same before and
// after its logs were sealed and its directory removed.
func TestLogsOutliveTheDirectory(t *testing.T) {
	h := newHouse(t)
	openGate(t, h.pushTalkative())
	h.wait(1)
	ctx := context.Background()
	look := func() map[string]string {
		out := map[string]string{"all": h.logs(runs.LogQuery{Run: 1}), "followed": h.logs(runs.LogQuery{Run: 1, Follow: true})}
		for _, q := range []runs.LogQuery{
			{Job: "a", Step: 2, From: 500, Limit: 3}, {Job: "a", Step: 2, From: 1000}, {Job: "a", Step: 2, Limit: 1}, {Job: "a", Step: 2, From: 5000, Limit: 10},
			{Job: "a", Step: 2, From: 500, Limit: 3, Follow: true}, {Job: "a", Step: 3}, {Job: "a", Step: 9}, {Job: "b"}, {Job: "b", Step: 1},
		} {
			q.Run = 1
			out[fmt.Sprintf("%+v", q)] = h.logs(q)
		}
		var err error
		if out["summary"], err = h.service.Summary(ctx, 1); err != nil {
			t.Fatal(err)
		}
		for _, job := range []string{"a", "b"} {
			for step := 1; step < 5; step++ {
				rows, all, err := h.service.LogRows(ctx, 1, job, step)
				if err != nil {
					t.Fatal(err)
				}
				out[fmt.Sprintf("rows of %s/%d", job, step)] = fmt.Sprint(rows, all)
			}
		}
		return out
	}
	before := look()
	if dirs, err := filepath.Glob(filepath.Join(h.dir, "jobs", "*")); err != nil || len(dirs) != 1 {
		t.Fatalf("directories before: %v, %v", dirs, err)
	}
	h.halt()
	h.keep = time.Nanosecond
	h.start()
	if err := h.awaitGone(); err != nil {
		t.Fatal(err)
	}
	after := look()
	if d := cmp.Diff(before, after); d != "" {
		t.Errorf("before and after (-before +after):\n%s", d)
	}
	if n := strings.Count(before["all"], "a/2 line "); n != 1000 || !strings.Contains(before["all"], "a/3 last words\n") || !strings.Contains(before["summary"], "a *summary*") {
		t.Errorf("%d lines\n%s", n, before["all"])
	}
	lines := strings.Split(strings.TrimSpace(h.logs(runs.LogQuery{Run: 1, Job: "a", Step: 2})), "\n")
	ranged := strings.Split(strings.TrimSpace(h.logs(runs.LogQuery{Run: 1, Job: "a", Step: 2, From: 500, Limit: 3})), "\n")
	if d := cmp.Diff(lines[500:503], ranged); d != "" {
		t.Errorf("3 rows from 500 (-want +got):\n%s", d)
	}
	if after["rows of a/2"] != fmt.Sprint(len(lines), true) {
		t.Errorf("%s rows, want %d", after["rows of a/2"], len(lines))
	}
}

// TestFollowerOutlivesTheDirectory: a follower that is slow, so slow that the
// job ends and its directory goes while it looks at one line, misses nothing.
func TestFollowerOutlivesTheDirectory(t *testing.T) {
	h := newHouse(t)
	h.halt()
	h.keep = time.Nanosecond
	h.start()
	gate := h.pushTalkative()
	h.awaitLog(1, "began")
	var got strings.Builder
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	err := h.service.Logs(ctx, runs.LogQuery{Run: 1, Follow: true}, func(l runs.LogLine) error {
		_, text, _ := strings.Cut(l.Text, " ")
		fmt.Fprintf(&got, "%s/%d %s\n", l.Job, l.Step, text)
		if text != "began" {
			return nil
		}
		openGate(t, gate)
		return h.awaitGone()
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(h.logs(runs.LogQuery{Run: 1}), got.String()); d != "" {
		t.Errorf("a later reader and the follower differ (-later +follower):\n%s", d)
	}
	if !strings.Contains(got.String(), "a/2 line 999\n") || !strings.Contains(got.String(), "Job ended as success") {
		t.Errorf("%s", got.String())
	}
}

func TestRowsAreThoseOfAStep(t *testing.T) {
	h := newHouse(t)
	for _, q := range []runs.LogQuery{{From: 1}, {Limit: 1}, {Job: "a", Limit: 1}, {Step: 1, From: 1}, {Job: "a", Step: 1, From: -1}, {Job: "a", Step: 1, Limit: -1}} {
		q.Run = 1
		err := h.service.Logs(context.Background(), q, func(runs.LogLine) error { return nil })
		if !errors.Is(err, problem.ErrInvalid) {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

// away is a blob store that cannot be reached at first.
type away struct {
	blob.Store
	left atomic.Int64 // Puts that fail
}

func (a *away) Put(ctx context.Context, key string, r io.Reader, want blob.Expect) (blob.Put, error) {
	if a.left.Add(-1) >= 0 {
		return blob.Put{}, errors.New("the bucket is away")
	}
	return a.Store.Put(ctx, key, r, want)
}

// TestSealingIsTriedAgain: while blobs cannot be put, logs are read from the
// directory, which stays. The end of the next job is an occasion to try again.
func TestSealingIsTriedAgain(t *testing.T) {
	h := newHouse(t)
	h.halt()
	h.keep = time.Nanosecond
	a := &away{}
	a.left.Store(1000)
	h.wrap = func(s blob.Store) blob.Store {
		a.Store = s
		return a
	}
	h.start()
	openGate(t, h.pushTalkative())
	h.wait(1)
	for deadline := time.Now().Add(time.Minute); a.left.Load() == 1000; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing was sealed")
		}
	}
	before := h.logs(runs.LogQuery{Run: 1})
	if !strings.Contains(before, "a/2 line 999\n") {
		t.Errorf("the log is not readable:\n%s", before)
	}
	a.left.Store(0)
	h.push("y", nil)
	h.wait(2)
	if err := h.awaitGone(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, h.logs(runs.LogQuery{Run: 1})); d != "" {
		t.Errorf("before and after sealing (-before +after):\n%s", d)
	}
}
