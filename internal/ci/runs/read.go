package runs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/ci/workflow"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// Get returns one run with its jobs and steps.
func (s *Service) Get(ctx context.Context, id int64) (Run, error) {
	var run Run
	var source string
	err := s.DB.Read(ctx, func(q store.Queryer) (err error) {
		run, err = scanRun(q.QueryRowContext(ctx, `SELECT `+runColumns+`, source FROM runs WHERE id = ?`, id), &source)
		if errors.Is(err, sql.ErrNoRows) {
			return problem.ErrNotFound
		}
		if err != nil {
			return err
		}
		return readJobs(ctx, q, &run)
	})
	if err != nil {
		return run, fmt.Errorf("run %d: %w", id, err)
	}
	if w, _ := workflow.Parse(run.WorkflowPath, []byte(source)); w != nil {
		for i := range run.Jobs {
			for _, n := range w.Job(run.Jobs[i].Key).Needs {
				run.Jobs[i].Needs = append(run.Jobs[i].Needs, n.Value)
			}
		}
	}
	return run, nil
}

func readJobs(ctx context.Context, q store.Queryer, run *Run) error {
	rows, err := q.QueryContext(ctx, `SELECT id, key, name, status, conclusion, message, started_at, finished_at FROM jobs WHERE run = ? ORDER BY position`, run.ID)
	if err != nil {
		return err
	}
	defer rows.Close()
	var ids []int64
	for rows.Next() {
		var id int64
		var j Job
		var status, started, finished string
		if err := rows.Scan(&id, &j.Key, &j.Name, &status, &j.Conclusion, &j.Message, &started, &finished); err != nil {
			return err
		}
		j.Status = Status(status)
		if err := parseTimes(started, &j.StartedAt, finished, &j.FinishedAt); err != nil {
			return err
		}
		ids = append(ids, id)
		run.Jobs = append(run.Jobs, j)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for i, id := range ids {
		if err := readSteps(ctx, q, id, &run.Jobs[i]); err != nil {
			return err
		}
	}
	return nil
}

func readSteps(ctx context.Context, q store.Queryer, id int64, j *Job) error {
	rows, err := q.QueryContext(ctx, `SELECT number, name, status, outcome, conclusion, started_at, finished_at FROM steps WHERE job = ? ORDER BY number`, id)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var st Step
		var status, started, finished string
		if err := rows.Scan(&st.Number, &st.Name, &status, &st.Outcome, &st.Conclusion, &started, &finished); err != nil {
			return err
		}
		st.Status = Status(status)
		if err := parseTimes(started, &st.StartedAt, finished, &st.FinishedAt); err != nil {
			return err
		}
		j.Steps = append(j.Steps, st)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	notes, err := q.QueryContext(ctx, `SELECT step, level, title, file, line, message FROM annotations WHERE job = ? ORDER BY id`, id)
	if err != nil {
		return err
	}
	defer notes.Close()
	for notes.Next() {
		var a Annotation
		if err := notes.Scan(&a.Step, &a.Level, &a.Title, &a.File, &a.Line, &a.Message); err != nil {
			return err
		}
		j.Annotations = append(j.Annotations, a)
	}
	return notes.Err()
}

// Cancel asks for the cancellation of a run. It returns as soon as that is
// recorded; jobs may still run what their conditions allow.
func (s *Service) Cancel(ctx context.Context, id int64) error {
	var running []string
	err := s.write(ctx, id, func(tx store.Tx) error {
		var status string
		err := tx.QueryRowContext(ctx, `SELECT status FROM runs WHERE id = ?`, id).Scan(&status)
		if errors.Is(err, sql.ErrNoRows) {
			return problem.ErrNotFound
		}
		if err != nil {
			return err
		}
		if Status(status) == Completed {
			return endedError{}
		}
		if _, err := tx.ExecContext(ctx, `UPDATE runs SET cancelled = 1 WHERE id = ?`, id); err != nil {
			return err
		}
		running = nil
		rows, err := tx.QueryContext(ctx, `SELECT key FROM jobs WHERE run = ? AND status = 'in_progress'`, id)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var key string
			if err := rows.Scan(&key); err != nil {
				return err
			}
			running = append(running, key)
		}
		return rows.Err()
	})
	for _, key := range running {
		if cerr := s.dir(id, key).Cancel(); err == nil && cerr != nil {
			err = cerr
		}
	}
	s.poke()
	if err != nil {
		return fmt.Errorf("run %d: %w", id, err)
	}
	return nil
}

// endedError says that there is nothing left to cancel.
type endedError struct{}

func (endedError) Error() string { return "has ended already" }
func (endedError) Unwrap() error { return problem.ErrInvalid }
