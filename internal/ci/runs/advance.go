package runs

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/base/failpoint"
	"github.com/penstock-dev/penstock/internal/base/tracing"
	"github.com/penstock-dev/penstock/internal/ci/engine"
	"github.com/penstock-dev/penstock/internal/ci/expr"
	"github.com/penstock-dev/penstock/internal/ci/jobdir"
	"github.com/penstock-dev/penstock/internal/ci/workflow"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// active is a run that is not over, as far as deciding needs it.
type active struct {
	Run
	source    string
	github    *expr.Object
	cancelled bool
	workflow  *workflow.Workflow
	jobs      map[string]engine.JobState
	queued    map[string]string // jobs that have not started: their message
}

// advanceAll carries out what the engine decides for every active run, oldest
// first.
func (s *Service) advanceAll(ctx context.Context) error {
	var ids []int64
	err := s.DB.Read(ctx, func(q store.Queryer) error {
		rows, err := q.QueryContext(ctx, `SELECT id FROM runs WHERE status <> 'completed' AND engine = ? ORDER BY id`, engineActions)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id int64
			if err := rows.Scan(&id); err != nil {
				return err
			}
			ids = append(ids, id)
		}
		return rows.Err()
	})
	if err != nil {
		return fmt.Errorf("list active runs: %w", err)
	}
	for _, id := range ids {
		if rerr := s.advance(ctx, id); rerr != nil {
			err = errors.Join(err, fmt.Errorf("run %d: %w", id, rerr))
		}
	}
	return err
}

// advance carries out what is due in one run.
func (s *Service) advance(ctx context.Context, id int64) error {
	a, err := s.loadActive(ctx, id)
	if unreadable, ok := errors.AsType[*unreadableError](err); ok {
		return s.abandon(ctx, a, unreadable)
	}
	if err != nil {
		return err
	}
	actions := engineNext(a)
	var start []engine.Action
	var ended []event.RunFinished
	err = s.DB.Write(ctx, func(tx store.Tx) error {
		start, ended = nil, nil
		now := s.Now()
		for _, act := range actions {
			switch act.Kind {
			case engine.End:
				if err := endJob(ctx, tx, a.ID, act.JobID, string(act.Result), act.Reason, nil, now); err != nil {
					return err
				}
			case engine.Start:
				start = append(start, act)
			case engine.Finish:
				a.Status, a.Conclusion, a.FinishedAt = Completed, string(act.Result), now
				e, err := finishRun(ctx, tx, a.Run)
				if err != nil {
					return err
				}
				ended = append(ended, e)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(actions) > 0 {
		s.changed(a.ID)
	}
	s.announce(ended...)
	if len(ended) > 0 {
		s.Log.Info("run finished", "run", a.ID, "repo", a.Repo, "conclusion", a.Conclusion)
	}
	for _, act := range start {
		if err := s.startJob(ctx, a, act); err != nil {
			return err
		}
	}
	return nil
}

// abandon ends a run that cannot be carried on, once its running jobs have
// ended by themselves.
func (s *Service) abandon(ctx context.Context, a active, why error) error {
	for _, j := range a.jobs {
		if j.Started && j.Result == "" {
			return nil
		}
	}
	var e event.RunFinished
	err := s.write(ctx, a.ID, func(tx store.Tx) (err error) {
		a.Conclusion, a.FinishedAt = string(engine.Failure), s.Now()
		for key := range a.queued {
			if err := endJob(ctx, tx, a.ID, key, a.Conclusion, why.Error(), nil, a.FinishedAt); err != nil {
				return err
			}
		}
		e, err = finishRun(ctx, tx, a.Run)
		return err
	})
	if err == nil {
		s.announce(e)
	}
	return err
}

func engineNext(a active) []engine.Action {
	return engine.Next(engine.State{Workflow: a.workflow, Jobs: a.jobs, Cancelled: a.cancelled,
		Values: map[string]expr.Value{"github": a.github, "vars": expr.NewObject(), "inputs": expr.NewObject()}})
}

func finishRun(ctx context.Context, tx store.Tx, r Run) (event.RunFinished, error) {
	at := store.FormatTime(r.FinishedAt)
	_, err := tx.ExecContext(ctx, `UPDATE runs SET status = ?, conclusion = ?, finished_at = ?,
		started_at = CASE started_at WHEN '' THEN ? ELSE started_at END WHERE id = ?`, string(Completed), r.Conclusion, at, at, r.ID)
	if err != nil {
		return event.RunFinished{}, err
	}
	return appendFinished(ctx, tx, r)
}

// endJob records the end of a job and of the steps that did not run.
func endJob(ctx context.Context, tx store.Tx, run int64, key, conclusion, message string, outputs map[string]string, now time.Time) error {
	out, err := outputsJSON(outputs)
	if err != nil {
		return err
	}
	at := store.FormatTime(now)
	_, err = tx.ExecContext(ctx, `UPDATE jobs SET status = 'completed', conclusion = ?, message = ?, outputs = ?, finished_at = ?
		WHERE run = ? AND key = ?`, conclusion, message, out, at, run, key)
	if err != nil {
		return err
	}
	if err := appendJobFinished(ctx, tx, run, key, conclusion, message, now); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE steps SET conclusion = CASE status WHEN 'queued' THEN 'skipped' ELSE ? END,
			outcome = CASE status WHEN 'queued' THEN 'skipped' ELSE ? END, status = 'completed'
		WHERE status <> 'completed' AND job = (SELECT id FROM jobs WHERE run = ? AND key = ?)`, conclusion, conclusion, run, key)
	return err
}

// startJob gives the job to a runner when there is room for it.
func (s *Service) startJob(ctx context.Context, a active, act engine.Action) error {
	if reason := unplaceable(act.Job.Labels); reason != "" {
		return s.hold(ctx, a, act.JobID, reason)
	}
	s.mu.Lock()
	full := len(s.running) >= s.MaxJobs
	s.mu.Unlock()
	if full {
		return s.hold(ctx, a, act.JobID, fmt.Sprintf("waiting for one of %d places", s.MaxJobs))
	}
	var jobID int64
	at := s.Now()
	now := store.FormatTime(at)
	err := s.write(ctx, a.ID, func(tx store.Tx) error {
		err := tx.QueryRowContext(ctx, `UPDATE jobs SET status = ?, name = ?, continue_on_error = ?, message = '', started_at = ?
			WHERE run = ? AND key = ? AND status = 'queued' AND (SELECT cancelled FROM runs WHERE id = run) = ? RETURNING id`,
			string(InProgress), act.Job.Name, act.Job.ContinueOnError, now, a.ID, act.JobID, a.cancelled).Scan(&jobID)
		if err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, `UPDATE runs SET status = ?, started_at = ? WHERE id = ? AND status = 'queued'`, string(InProgress), now, a.ID)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil {
			return err
		} else if n == 1 {
			if err := appendRun(ctx, tx, event.TypeRunStarted, a.ID, at); err != nil {
				return err
			}
		}
		return appendJobStarted(ctx, tx, a.ID, act.JobID, act.Job.Name, at)
	})
	if errors.Is(err, sql.ErrNoRows) { // cancelled since we decided
		s.poke()
		return nil
	}
	if err != nil {
		return fmt.Errorf("start job %s: %w", act.JobID, err)
	}
	failpoint.Hit("ci.job.started.after")
	return s.launch(ctx, a, act.JobID, jobID, act.Job)
}

// hold says why a job waits.
func (s *Service) hold(ctx context.Context, a active, key, reason string) error {
	if a.queued[key] == reason {
		return nil
	}
	return s.write(ctx, a.ID, func(tx store.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE jobs SET message = ? WHERE run = ? AND key = ? AND status = 'queued'`, reason, a.ID, key)
		return err
	})
}

// unplaceable says which label no machine here has; "" when all are served.
func unplaceable(labels []string) string {
	for _, l := range labels {
		switch low := strings.ToLower(l); {
		case strings.HasPrefix(low, "ubuntu-"), low == "linux", low == "self-hosted", low == "penstock", low == "x64":
		default:
			return fmt.Sprintf("waiting for a runner with label '%s'; this machine serves ubuntu-*, linux, x64, self-hosted, penstock", l)
		}
	}
	return ""
}

// launch prepares the directory of a job that is marked as started and starts
// its runner. A job that cannot be launched fails, with the reason.
func (s *Service) launch(ctx context.Context, a active, key string, jobID int64, e engine.Evaluated) error {
	err := s.spawn(ctx, a, key, jobID, e)
	if err == nil || ctx.Err() != nil {
		return err
	}
	s.Log.Error("job cannot be started", "run", a.ID, "job", key, "error", err)
	werr := s.write(ctx, a.ID, func(tx store.Tx) error {
		return endJob(ctx, tx, a.ID, key, string(engine.Failure), "the job could not be started: "+err.Error(), nil, s.Now())
	})
	s.poke()
	w := watched{run: a.ID, key: key, job: jobID, dir: s.dir(a.ID, key)}
	return errors.Join(werr, w.dir.Clean(), s.revoke(ctx, &w))
}

func (s *Service) spawn(ctx context.Context, a active, key string, jobID int64, e engine.Evaluated) error {
	j := a.workflow.Job(key)
	dir := s.dir(a.ID, key)
	life := engine.Minutes(e.TimeoutMinutes) + 10*time.Minute
	token, err := s.Tokens.IssueJob(ctx, a.ID, key, scope(a.Repo, a.workflow, j), min(life, 24*time.Hour))
	if err != nil {
		return fmt.Errorf("issue token: %w", err)
	}
	spec := jobdir.Spec{
		JobID: jobName(a.ID, key), Name: e.Name, Repo: a.Repo, Job: j, WorkflowEnv: a.workflow.Env, Defaults: a.workflow.Defaults,
		TimeoutMinutes: e.TimeoutMinutes, ServerURL: s.ServerURL,
		GitHub: json.RawMessage(expr.ToJSON(a.github)), Needs: json.RawMessage(expr.ToJSON(e.Needs)),
	}
	if s.Tracing {
		spec.Trace = tracing.Job(tracing.Run(a.Repo, a.ID, a.CreatedAt), key).Parent()
	}
	lock, err := dir.Lock()
	if errors.Is(err, jobdir.ErrLocked) { // started by us before we died
		s.follow(ctx, watched{run: a.ID, key: key, job: jobID, dir: dir}, nil)
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := dir.Prepare(spec, jobdir.Secrets{Token: token}); err != nil {
		return fmt.Errorf("prepare directory of the job: %w", err)
	}
	failpoint.Hit("ci.job.spawn.before")
	wait, err := s.Runner.Start(dir, lock)
	if err != nil {
		return fmt.Errorf("start runner: %w", err)
	}
	failpoint.Hit("ci.job.spawn.after")
	s.Log.Info("job started", "run", a.ID, "job", key)
	s.follow(ctx, watched{run: a.ID, key: key, job: jobID, dir: dir}, wait)
	return nil
}

// scope is what a job's token opens: the repositories of the same owner, to
// read, and with `contents: write` to write. Images of that owner may be pushed
// unless `packages` says less: workflows that log in at their registry with
// other credentials do not ask for that right.
func scope(repo string, w *workflow.Workflow, j *workflow.Job) (s Scope) {
	owner, _, _ := strings.Cut(repo, "/")
	permissions := w.Permissions
	if j.Permissions != nil {
		permissions = j.Permissions
	}
	all := []string{owner + "/*"}
	switch {
	case permissions == nil || permissions["contents"] == "read":
		s.Read = all
	case permissions["contents"] == "write":
		s.Write = all
	}
	level, named := permissions["packages"]
	switch {
	case level == "read":
		s.ReadImages = all
	case level == "write", !named && (permissions == nil || len(permissions) > 0):
		s.WriteImages = all
	}
	return s
}
