package runner_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/ci/jobdir"
	"github.com/penstock-dev/penstock/internal/ci/runner"
)

// awaitLine waits until the log of a step holds text.
func awaitLine(t *testing.T, dir jobdir.Dir, step int, text string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		b, err := readLog(t, dir.Log(step))
		if err == nil && strings.Contains(b, text+"\n") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("log of step %d does not come to hold %q: %v\n%s", step, text, err, b)
		}
	}
}

const cancelSteps = `
      - name: runs
        run: |
          trap 'echo interrupted; exit 0' INT
          echo "go" "on"
          sleep 30 & wait
      - {name: after, run: echo after}
      - {name: always, if: always(), run: 'echo status ${{ job.status }}'}
      - {name: when cancelled, if: cancelled(), run: echo cancelled}
      - {name: when failed, if: failure(), run: echo failed}
`

func TestCancelStopsTheStepAndRunsWhatMayRun(t *testing.T) {
	for name, stop := range map[string]func(dir jobdir.Dir, cancel func()){
		"cancel file":  func(dir jobdir.Dir, _ func()) { _ = dir.Cancel() },
		"told to stop": func(_ jobdir.Dir, cancel func()) { cancel() },
		"time limit":   func(jobdir.Dir, func()) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := prepare(t, job(cancelSteps))
			if name == "time limit" {
				limit(t, dir, 0.01)
			}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- runner.Run(ctx, options(dir)) }()
			awaitLine(t, dir, 2, "go on")
			stop(dir, cancel)
			select {
			case err := <-ended:
				if err != nil {
					t.Fatal(err)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("the job does not end")
			}
			r := collect(t, dir)
			if r.end.Conclusion != "cancelled" || r.end.Message == "" {
				t.Errorf("end: %+v", r.end)
			}
			want := map[string]string{"Set up job": "success/success", "runs": "cancelled/cancelled", "after": "skipped/skipped",
				"always": "success/success", "when cancelled": "success/success", "when failed": "skipped/skipped", "Complete job": "success/success"}
			if d := cmp.Diff(want, r.steps); d != "" {
				t.Errorf("steps (-want +got):\n%s", d)
			}
			for _, line := range []string{"interrupted", "status cancelled", "cancelled"} {
				if !strings.Contains(r.log, "\n"+line+"\n") {
					t.Errorf("log lacks %q:\n%s", line, r.log)
				}
			}
		})
	}
}

// TestAlwaysStepSurvivesCancellation: a step whose condition holds for a
// cancelled job is not interrupted.
func TestAlwaysStepSurvivesCancellation(t *testing.T) {
	dir := prepare(t, job("      - {name: one, if: always(), run: 'echo go; sleep 0.4; echo done'}\n"))
	ended := make(chan error, 1)
	go func() { ended <- runner.Run(context.Background(), options(dir)) }()
	awaitLine(t, dir, 2, "go")
	if err := dir.Cancel(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	r := collect(t, dir)
	if r.steps["one"] != "success/success" || r.end.Conclusion != "cancelled" || !strings.Contains(r.log, "\ndone\n") {
		t.Errorf("%v, %+v\n%s", r.steps, r.end, r.log)
	}
}

func TestJobLeavesNothingButItsStory(t *testing.T) {
	r := run(t, job("      - run: touch $RUNNER_TEMP/x $HOME/y z\n"))
	entries, err := os.ReadDir(string(r.dir))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if d := cmp.Diff([]string{"job.json", "journal.jsonl", "lock", "logs"}, names); d != "" {
		t.Errorf("left behind (-want +got):\n%s", d)
	}
	b, err := os.ReadFile(string(r.dir) + "/job.json")
	if err != nil || strings.Contains(string(b), "pjt_") || strings.Contains(string(b), "line secret") {
		t.Errorf("job.json holds secrets: %v", err)
	}
}

// TestAJobRunsOnce: a directory whose job ran is refused.
func TestAJobRunsOnce(t *testing.T) {
	dir := prepare(t, job("      - run: echo once\n"))
	if err := runner.Run(context.Background(), options(dir)); err != nil {
		t.Fatal(err)
	}
	again := prepare(t, job("      - run: echo once\n"))
	journal, err := os.ReadFile(dir.Journal())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(again.Journal(), journal, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := runner.Run(context.Background(), options(again)); err == nil {
		t.Error("the job ran again")
	}
}
