package runs_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/base/event/eventtest"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// TestEveryTransitionIsOneEvent runs a workflow with a job that succeeds, one
// that fails, one that is skipped and one that nobody can run, and cancels.
func TestEveryTransitionIsOneEvent(t *testing.T) {
	h := newHouse(t)
	h.push("first", map[string]string{".github/workflows/ci.yml": `
name: CI
on: push
jobs:
  good:
    runs-on: ubuntu-latest
    steps:
      - run: echo
  bad:
    needs: good
    runs-on: ubuntu-latest
    steps:
      - run: exit 1
  skipped:
    needs: bad
    runs-on: ubuntu-latest
    steps:
      - run: echo
`})
	h.wait(1)
	h.push("second", map[string]string{".github/workflows/ci.yml": "on: push\njobs:\n  a:\n    runs-on: nowhere\n    steps:\n      - run: echo\n"})
	h.waitHeld(2)
	if err := h.service.Cancel(context.Background(), 2); err != nil {
		t.Fatal(err)
	}
	h.wait(2)
	h.push("third", map[string]string{".github/workflows/ci.yml": "on: push\njobs: 1\n"}) // a file with faults
	h.wait(3)

	var list []store.Event
	if err := h.db.Read(context.Background(), func(q store.Queryer) (err error) {
		list, err = store.Events(context.Background(), q, store.EventFilter{Subject: "demo/shop"}, 0, 100)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range list {
		if e.Type == event.TypePush {
			continue // this test's own, which is not quite one
		}
		eventtest.Valid(t, e.Entry())
		var v struct {
			RunID                  int64
			Job, Conclusion, Cause string
		}
		if err := json.Unmarshal(e.Data, &v); err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Type[len("dev.cdevents."):len(e.Type)-len(".0.3.0")]+" "+v.Cause+" "+v.Job+" "+v.Conclusion)
	}
	want := []string{
		"pipelinerun.queued push-1  ",
		"pipelinerun.started push-1  ",
		"taskrun.started push-1 good ",
		"taskrun.finished push-1 good success",
		"taskrun.started push-1 bad ",
		"taskrun.finished push-1 bad failure",
		"pipelinerun.finished push-1  failure",
		"pipelinerun.queued push-2  ",
		"pipelinerun.finished push-2  cancelled",
		"pipelinerun.queued push-3  ",
		"pipelinerun.finished push-3  failure",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
