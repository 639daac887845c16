package traces

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/base/tracing"
	"github.com/penstock-dev/penstock/internal/ci/runs"
	"github.com/penstock-dev/penstock/internal/host/observe"
)

// job names the span of the CI job that an actor ("run/12/build") is, nil when
// it is none.
func (t *Teller) job(ctx context.Context, actor string) (*tracing.Context, error) {
	id, key, ok := jobOf(actor)
	if !ok {
		return nil, nil
	}
	run, err := t.Runs.Get(ctx, id)
	if errors.Is(err, problem.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c := tracing.Job(tracing.Run(run.Repo, run.ID, run.CreatedAt), key)
	return &c, nil
}

// jobOf reads the name of a job as an actor.
func jobOf(actor string) (run int64, key string, ok bool) {
	rest, ok := strings.CutPrefix(actor, "run/")
	number, key, ok2 := strings.Cut(rest, "/")
	run, err := strconv.ParseInt(number, 10, 64)
	return run, key, ok && ok2 && err == nil
}

// ofPush makes a span for each commit that a push brought. How long git took
// to receive it is in the span of the request.
func ofPush(p event.Push, by *tracing.Context) []observe.Span {
	var out []observe.Span
	for _, u := range p.Updates {
		if u.After == event.ZeroCommit {
			continue
		}
		s := observe.Span{
			Context: tracing.Push(p.Repo, u.After), Name: "push " + p.Repo, Began: p.At, Ended: p.At,
			Attributes: []attribute.KeyValue{
				attribute.String("vcs.repository.name", p.Repo), attribute.String("vcs.ref.head.name", u.Ref),
				attribute.String("vcs.ref.head.revision", u.After), attribute.String("user.name", p.Actor),
			},
		}
		if by != nil {
			s.Links = []tracing.Context{*by}
		}
		out = append(out, s)
	}
	return out
}

// ofRun makes the trace of a run that has ended.
func ofRun(r runs.Run) []observe.Span {
	root := tracing.Run(r.Repo, r.ID, r.CreatedAt)
	out := []observe.Span{{
		Context: root, Links: []tracing.Context{tracing.Push(r.Repo, r.SHA)},
		Name: "run " + r.Workflow, Began: r.CreatedAt, Ended: later(r.FinishedAt, r.CreatedAt), Failed: failure(r.Conclusion, r.Message),
		Attributes: []attribute.KeyValue{
			attribute.String("cicd.pipeline.name", r.Workflow), attribute.Int64("cicd.pipeline.run.id", r.ID), attribute.String("cicd.pipeline.result", result(r.Conclusion)),
			attribute.String("vcs.repository.name", r.Repo), attribute.String("vcs.ref.head.name", r.Ref), attribute.String("vcs.ref.head.revision", r.SHA),
		},
	}}
	for _, j := range r.Jobs {
		if j.StartedAt.IsZero() {
			continue
		}
		job := tracing.Job(root, j.Key)
		out = append(out, observe.Span{
			Context: job, Parent: root.Span, Name: "job " + cmp.Or(j.Name, j.Key), Began: j.StartedAt, Ended: later(j.FinishedAt, j.StartedAt), Failed: failure(j.Conclusion, j.Message),
			Attributes: []attribute.KeyValue{
				attribute.String("cicd.pipeline.task.name", j.Key), attribute.String("cicd.pipeline.task.run.id", strconv.FormatInt(r.ID, 10)+"/"+j.Key),
				attribute.String("cicd.pipeline.task.run.result", result(j.Conclusion)),
			},
		})
		for _, s := range j.Steps {
			if s.StartedAt.IsZero() {
				continue
			}
			out = append(out, observe.Span{
				Context: tracing.Step(job, s.Number), Parent: job.Span, Name: "step " + s.Name, Began: s.StartedAt, Ended: later(s.FinishedAt, s.StartedAt), Failed: failure(s.Outcome, ""),
				Attributes: []attribute.KeyValue{attribute.Int("penstock.step.number", s.Number), attribute.String("penstock.step.conclusion", s.Conclusion)},
			})
		}
	}
	return out
}

// later keeps a span from ending before it began, as clocks would have it.
func later(end, began time.Time) time.Time {
	if end.Before(began) {
		return began
	}
	return end
}

func failure(conclusion, message string) string {
	switch conclusion {
	case "failure", "startup_failure", "timed_out":
		return cmp.Or(message, conclusion)
	}
	return ""
}

// result is OpenTelemetry's word for a conclusion.
func result(conclusion string) string {
	switch conclusion {
	case "cancelled":
		return "cancellation"
	case "skipped":
		return "skip"
	case "startup_failure":
		return "error"
	case "timed_out":
		return "timeout"
	}
	return conclusion // success, failure
}

// Synced is a sync of an Application that has ended.
type Synced struct {
	UID, Application string
	Repo, Commit     string // of the hosted repository; "" for another one
	Phase, Message   string
	Began, Ended     time.Time
}

// Span is the sync, linked to the push of what it brought to the cluster.
func (s Synced) Span() observe.Span {
	out := observe.Span{
		Context: tracing.Sync(s.UID, s.Began), Name: "sync " + s.Application, Began: s.Began, Ended: later(s.Ended, s.Began),
		Attributes: []attribute.KeyValue{
			attribute.String("deployment.name", s.Application), attribute.String("vcs.repository.name", s.Repo), attribute.String("vcs.ref.head.revision", s.Commit),
			attribute.String("deployment.status", map[bool]string{true: "succeeded", false: "failed"}[s.Phase == "Succeeded"]),
		},
	}
	if s.Phase != "Succeeded" {
		out.Failed = cmp.Or(s.Message, s.Phase)
	}
	if s.Repo != "" && s.Commit != "" {
		out.Links = []tracing.Context{tracing.Push(s.Repo, s.Commit)}
	}
	return out
}
