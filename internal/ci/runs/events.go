package runs

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/base/id"
	"github.com/penstock-dev/penstock/internal/ci/jobdir"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// facts are what all events about a run tell of it.
type facts struct {
	run                                     int64
	repo, commit, ref, workflow, actor, uid string
	cause                                   string // the event that the run is about
}

// factsOf reads them.
func factsOf(ctx context.Context, q store.Queryer, run int64) (facts, error) {
	f := facts{run: run}
	var path string
	err := q.QueryRowContext(ctx, `SELECT repo, sha, ref, workflow, workflow_path, actor, event_id FROM runs WHERE id = ?`, run).
		Scan(&f.repo, &f.commit, &f.ref, &f.workflow, &path, &f.actor, &f.cause)
	// The number of a run is used again in a store that begins anew; what the
	// run is about is not.
	f.uid = id.Of(f.cause, f.ref, path, strconv.FormatInt(run, 10))
	return f, err
}

func (f facts) append(ctx context.Context, tx store.Tx, typ, of string, at time.Time, data any) error {
	_, err := store.Append(ctx, tx, id.Of(typ, f.uid, of), typ, f.repo, at, data)
	return err
}

// appendRun writes that a run waits or has begun, in the transaction that
// makes it so.
func appendRun(ctx context.Context, tx store.Tx, typ string, run int64, at time.Time) error {
	f, err := factsOf(ctx, tx, run)
	if err != nil {
		return err
	}
	return f.append(ctx, tx, typ, "", at, event.Run{RunID: run, Repo: f.repo, Commit: f.commit, Ref: f.ref, Workflow: f.workflow, Actor: f.actor, Cause: f.cause, At: at})
}

// appendFinished writes that a run has ended.
func appendFinished(ctx context.Context, tx store.Tx, r Run) (event.RunFinished, error) {
	f, err := factsOf(ctx, tx, r.ID)
	if err != nil {
		return event.RunFinished{}, err
	}
	conclusion := r.Conclusion
	if conclusion == startupFailure {
		conclusion = "failure"
	}
	e := event.RunFinished{RunID: r.ID, Repo: f.repo, Commit: f.commit, Ref: f.ref, Workflow: f.workflow, Actor: f.actor, Cause: f.cause,
		Conclusion: conclusion, Message: r.Message, At: r.FinishedAt}
	return e, f.append(ctx, tx, event.TypeRunFinished, "", r.FinishedAt, e)
}

// appendJobStarted writes that a job has begun.
func appendJobStarted(ctx context.Context, tx store.Tx, run int64, key, name string, at time.Time) error {
	f, err := factsOf(ctx, tx, run)
	if err != nil {
		return err
	}
	return f.append(ctx, tx, event.TypeJobStarted, key, at,
		event.Job{RunID: run, Job: key, Name: name, Repo: f.repo, Commit: f.commit, Cause: f.cause, At: at})
}

// appendJobFinished writes that a job has ended; one that never began has no
// such event.
func appendJobFinished(ctx context.Context, tx store.Tx, run int64, key, conclusion, message string, at time.Time) error {
	var name, started string
	if err := tx.QueryRowContext(ctx, `SELECT name, started_at FROM jobs WHERE run = ? AND key = ?`, run, key).Scan(&name, &started); err != nil {
		return err
	}
	if started == "" {
		return nil
	}
	f, err := factsOf(ctx, tx, run)
	if err != nil {
		return err
	}
	return f.append(ctx, tx, event.TypeJobFinished, key, at, event.JobFinished{RunID: run, Job: key, Name: name, Repo: f.repo, Commit: f.commit, Cause: f.cause,
		Conclusion: conclusion, Message: message, At: at})
}

// appendImage writes that a job built an image, and that a registry has it.
// Each repository that the image is in has its own events.
func appendImage(ctx context.Context, tx store.Tx, run int64, key string, i jobdir.Image, at time.Time) error {
	f, err := factsOf(ctx, tx, run)
	if err != nil {
		return err
	}
	for _, step := range []struct {
		typ  string
		tags map[string][]string
	}{{event.TypeArtifactPackaged, byRepository(i.Tags)}, {event.TypeArtifactPublished, byRepository(i.Pushed)}} {
		for _, image := range slices.Sorted(maps.Keys(step.tags)) {
			if err := f.append(ctx, tx, step.typ, key+" "+image+"@"+i.Digest, at, event.Artifact{Image: image, Tags: step.tags[image], Digest: i.Digest,
				RunID: run, Job: key, Repo: f.repo, Commit: f.commit, Cause: f.cause, At: at}); err != nil {
				return err
			}
		}
	}
	return nil
}

// byRepository sorts "host/owner/name:tag" by what stands before the tag.
func byRepository(refs []string) map[string][]string {
	out := map[string][]string{}
	for _, ref := range refs {
		name, tag := ref, "latest"
		if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
			name, tag = ref[:i], ref[i+1:]
		}
		out[name] = append(out[name], tag)
	}
	return out
}
