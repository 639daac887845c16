package runs

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/ci/engine"
	"github.com/penstock-dev/penstock/internal/ci/expr"
	"github.com/penstock-dev/penstock/internal/ci/workflow"
	"github.com/penstock-dev/penstock/internal/host/store"
)

const runColumns = `id, engine, repo, workflow_path, workflow, title, number, event, ref, sha, actor, status, conclusion, message, created_at, started_at, finished_at`

type row interface{ Scan(...any) error }

func scanRun(r row, more ...any) (Run, error) {
	var run Run
	var status, created, started, finished string
	err := r.Scan(append([]any{&run.ID, &run.Engine, &run.Repo, &run.WorkflowPath, &run.Workflow, &run.Title, &run.Number, &run.Event, &run.Ref,
		&run.SHA, &run.Actor, &status, &run.Conclusion, &run.Message, &created, &started, &finished}, more...)...)
	if err != nil {
		return run, err
	}
	run.Status = Status(status)
	return run, parseTimes(created, &run.CreatedAt, started, &run.StartedAt, finished, &run.FinishedAt)
}

// loadActive reads a run as the engine needs it.
func (s *Service) loadActive(ctx context.Context, id int64) (active, error) {
	a := active{jobs: map[string]engine.JobState{}, queued: map[string]string{}}
	var github string
	err := s.DB.Read(ctx, func(q store.Queryer) (err error) {
		a.Run, err = scanRun(q.QueryRowContext(ctx, `SELECT `+runColumns+`, source, github, cancelled FROM runs WHERE id = ?`, id), &a.source, &github, &a.cancelled)
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("run %d: %w", id, problem.ErrNotFound)
		}
		if err != nil {
			return err
		}
		rows, err := q.QueryContext(ctx, `SELECT key, status, conclusion, message, continue_on_error, outputs FROM jobs WHERE run = ?`, id)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var key, status, conclusion, message, outputs string
			var j engine.JobState
			if err := rows.Scan(&key, &status, &conclusion, &message, &j.ContinueOnError, &outputs); err != nil {
				return err
			}
			if err := json.Unmarshal([]byte(outputs), &j.Outputs); err != nil {
				return fmt.Errorf("outputs of job %s: %w", key, err)
			}
			j.Started, j.Result = Status(status) != Queued, engine.Result(conclusion)
			a.jobs[key] = j
			if !j.Started {
				a.queued[key] = message
			}
		}
		return rows.Err()
	})
	if err != nil {
		return a, err
	}
	v, err := expr.FromJSON(github)
	if err != nil {
		return a, fmt.Errorf("github context: %w", err)
	}
	a.github, _ = v.(*expr.Object)
	w, findings := workflow.Parse(a.WorkflowPath, []byte(a.source))
	if w == nil {
		return a, &unreadableError{findings[0]}
	}
	a.workflow = w
	return a, nil
}

// unreadableError says that this version reads the workflow file of a run
// otherwise than the one that made the run: it cannot go on.
type unreadableError struct{ finding workflow.Finding }

func (e *unreadableError) Error() string {
	return "this version of Penstock cannot read the workflow of the run: " + e.finding.String()
}
