package traces

import (
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/base/tracing"
	"github.com/penstock-dev/penstock/internal/ci/runs"
)

var at = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestChainFromPushToSync(t *testing.T) {
	run := runs.Run{
		ID: 7, Repo: "demo/shop", Workflow: "CI", SHA: "abc", Conclusion: "failure", CreatedAt: at, StartedAt: at.Add(time.Second), FinishedAt: at.Add(9 * time.Second),
		Jobs: []runs.Job{
			{Key: "test", Conclusion: "failure", Message: "step 2 failed", StartedAt: at.Add(time.Second), FinishedAt: at.Add(9 * time.Second), Steps: []runs.Step{
				{Number: 1, Name: "one", Outcome: "success", Conclusion: "success", StartedAt: at.Add(2 * time.Second), FinishedAt: at.Add(time.Second)}, // the clock went back
				{Number: 2, Name: "two", Outcome: "failure", Conclusion: "success", StartedAt: at.Add(3 * time.Second), FinishedAt: at.Add(4 * time.Second)},
				{Number: 3, Name: "not reached", Conclusion: "skipped"},
			}},
			{Key: "after", Conclusion: "skipped"},
		},
	}
	spans := ofRun(run)
	if len(spans) != 4 {
		t.Fatalf("%d spans, want the run, a job and two steps", len(spans))
	}
	root, job, one, two := spans[0], spans[1], spans[2], spans[3]
	push := ofPush(event.Push{Repo: "demo/shop", Actor: "ann", At: at, Updates: []event.RefUpdate{{Ref: "refs/heads/main", After: "abc"}, {Ref: "refs/heads/old", After: event.ZeroCommit}}}, nil)
	if len(push) != 1 || len(root.Links) != 1 || root.Links[0] != push[0].Context {
		t.Errorf("the run is linked to %v, the push is %v", root.Links, push)
	}
	if job.Parent != root.Context.Span || one.Parent != job.Context.Span || two.Context.Trace != root.Context.Trace {
		t.Error("steps are not below their job, or the job not below the run")
	}
	if root.Failed != "failure" || job.Failed != "step 2 failed" || one.Failed != "" || two.Failed != "failure" {
		t.Errorf("failed: %q %q %q %q", root.Failed, job.Failed, one.Failed, two.Failed)
	}
	if one.Ended.Before(one.Began) {
		t.Error("a step ends before it begins")
	}
	if two.Context != tracing.Step(tracing.Job(tracing.Run(run.Repo, run.ID, run.CreatedAt), "test"), 2) {
		t.Error("the step has another name than the runner gives it")
	}

	// The push of a manifest by the job, and the sync of what it brought.
	manifest := ofPush(event.Push{Repo: "demo/manifests", Actor: "run/7/test", At: at, Updates: []event.RefUpdate{{Ref: "refs/heads/main", After: "def"}}}, &job.Context)
	if len(manifest[0].Links) != 1 || manifest[0].Links[0] != job.Context {
		t.Errorf("the push of a job is linked to %v", manifest[0].Links)
	}
	s := Synced{UID: "u", Application: "argocd/shop", Repo: "demo/manifests", Commit: "def", Phase: "Succeeded", Began: at, Ended: at.Add(time.Second)}.Span()
	if len(s.Links) != 1 || s.Links[0] != manifest[0].Context || s.Failed != "" {
		t.Errorf("sync: %+v", s)
	}
	if f := (Synced{UID: "u", Phase: "Failed", Message: "no such kind"}).Span(); f.Failed != "no such kind" || len(f.Links) != 0 {
		t.Errorf("failed sync: %+v", f)
	}
}

func TestWhoIsAJob(t *testing.T) {
	for actor, want := range map[string]bool{"run/7/build": true, "run/7": false, "run/x/build": false, "ann": false, "": false} {
		if id, key, ok := jobOf(actor); ok != want || ok && (id != 7 || key != "build") {
			t.Errorf("%q: %d %q %v", actor, id, key, ok)
		}
	}
}
