package runs

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/ci/expr"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// record writes the runs of one push and moves the cursor past it.
func (s *Service) record(ctx context.Context, seq int64, list []planned) error {
	var ended []event.RunFinished
	var made []int64
	err := s.DB.Write(ctx, func(tx store.Tx) error {
		ended, made = nil, nil
		for _, p := range list {
			run, err := insertRun(ctx, tx, p)
			if err != nil {
				return err
			}
			if run != 0 {
				made = append(made, run)
			}
			if run != 0 && p.Status == Completed {
				p.ID = run
				e, err := appendFinished(ctx, tx, p.Run)
				if err != nil {
					return err
				}
				ended = append(ended, e)
			}
		}
		return store.SetCursor(ctx, tx, consumer, seq)
	})
	if err == nil {
		for _, run := range made {
			s.changed(run)
		}
		s.announce(ended...)
	}
	return err
}

// insertRun writes a run with its jobs; 0 when the push has it already.
func insertRun(ctx context.Context, tx store.Tx, p planned) (int64, error) {
	var have int64
	err := tx.QueryRowContext(ctx, `SELECT id FROM runs WHERE event_id = ? AND ref = ? AND workflow_path = ?`, p.eventID, p.Ref, p.WorkflowPath).Scan(&have)
	if !errors.Is(err, sql.ErrNoRows) {
		return 0, err
	}
	err = tx.QueryRowContext(ctx, `SELECT coalesce(max(number), 0) + 1 FROM runs WHERE repo = ? AND workflow_path = ?`, p.Repo, p.WorkflowPath).Scan(&p.Number)
	if err != nil {
		return 0, err
	}
	var run int64
	err = tx.QueryRowContext(ctx, `INSERT INTO runs (engine, repo, workflow_path, workflow, source, github, title, number, event, event_id,
			ref, sha, actor, status, conclusion, message, cancelled, created_at, started_at, finished_at)
		VALUES (?, ?, ?, ?, ?, '', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?) RETURNING id`,
		engineActions, p.Repo, p.WorkflowPath, p.Workflow, p.source, p.Title, p.Number, p.Event, p.eventID, p.Ref, p.SHA, p.Actor,
		string(p.Status), p.Conclusion, p.Message, store.FormatTime(p.CreatedAt), store.FormatTime(p.StartedAt), store.FormatTime(p.FinishedAt)).Scan(&run)
	if err != nil {
		return 0, err
	}
	p.github.Set("run_id", strconv.FormatInt(run, 10))
	p.github.Set("run_number", strconv.FormatInt(p.Number, 10))
	if _, err := tx.ExecContext(ctx, `UPDATE runs SET github = ? WHERE id = ?`, expr.ToJSON(p.github), run); err != nil {
		return 0, err
	}
	if err := appendRun(ctx, tx, event.TypeRunQueued, run, p.CreatedAt); err != nil {
		return 0, err
	}
	if p.workflow == nil {
		return run, nil
	}
	for i, j := range p.workflow.Jobs {
		name := j.ID
		if !j.Name.Empty() {
			name = j.Name.Value
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO jobs (engine, run, key, position, name, status, conclusion, message, continue_on_error, outputs, "offset", started_at, finished_at)
			VALUES (?, ?, ?, ?, ?, ?, '', '', 0, '{}', 0, '', '')`, engineActions, run, j.ID, i, name, string(Queued))
		if err != nil {
			return 0, err
		}
	}
	return run, nil
}

func (s *Service) announce(list ...event.RunFinished) {
	if s.Finished == nil {
		return
	}
	for _, e := range list {
		s.Finished.Publish(e)
	}
}

// outputsJSON is what the outputs column holds.
func outputsJSON(m map[string]string) (string, error) {
	if m == nil {
		m = map[string]string{}
	}
	b, err := json.Marshal(m)
	return string(b), err
}

func parseTimes(pairs ...any) error {
	for i := 0; i+1 < len(pairs); i += 2 {
		t, err := store.ParseTime(pairs[i].(string))
		if err != nil {
			return fmt.Errorf("read time: %w", err)
		}
		*pairs[i+1].(*time.Time) = t
	}
	return nil
}
