package runs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/penstock-dev/penstock/internal/base/failpoint"
	"github.com/penstock-dev/penstock/internal/ci/engine"
	"github.com/penstock-dev/penstock/internal/ci/jobdir"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// watched is a job whose journal is followed.
type watched struct {
	run    int64
	key    string
	job    int64
	dir    jobdir.Dir
	offset int64
}

// The journal is looked at this often while the job runs. A look is one stat.
const (
	lookEvery  = 15 * time.Millisecond
	aliveEvery = 500 * time.Millisecond
)

// follow watches the job until it has ended or ctx does. wait, when there is
// one, returns when the runner's process has ended.
func (s *Service) follow(ctx context.Context, w watched, wait func()) {
	s.mu.Lock()
	s.running[w.job] = true
	s.mu.Unlock()
	gone := make(chan struct{})
	if wait != nil {
		// Not awaited by the service: the process may outlive it, and the
		// goroutine holds nothing.
		go func() { wait(); close(gone) }()
	}
	s.watch.Go(func() {
		err := s.tail(ctx, &w, gone)
		for err != nil && ctx.Err() == nil {
			s.Log.Error("cannot record what a job reports", "run", w.run, "job", w.key, "error", err)
			if !sleep(ctx, retry) {
				break
			}
			err = s.tail(ctx, &w, gone)
		}
		s.mu.Lock()
		delete(s.running, w.job)
		s.mu.Unlock()
		s.poke()
		s.tidy(ctx, w.dir)
		ring(s.sealable)
	})
}

// tidyWithin is how long a runner may take to leave after its last word.
const tidyWithin = time.Minute

// tidy removes what the job needed once its runner is gone. The runner does so
// itself, unless it died after it reported the end.
func (s *Service) tidy(ctx context.Context, dir jobdir.Dir) {
	for deadline := s.Now().Add(tidyWithin); ctx.Err() == nil && s.Now().Before(deadline); sleep(ctx, lookEvery) {
		if living, err := dir.Alive(); err != nil || living {
			continue
		}
		if err := dir.Clean(); err != nil {
			s.Log.Error("cannot remove what a job left", "dir", string(dir), "error", err)
		}
		return
	}
}

// tidyAll does so for all jobs that are not running, at the start.
func (s *Service) tidyAll(running []watched) {
	skip := map[jobdir.Dir]bool{}
	for _, w := range running {
		skip[w.dir] = true
	}
	work, err := filepath.Glob(filepath.Join(s.Dir, "*", "work"))
	if err != nil {
		s.Log.Error("cannot look for what jobs left", "error", err)
		return
	}
	for _, p := range work {
		dir := jobdir.Dir(filepath.Dir(p))
		if living, err := dir.Alive(); skip[dir] || err != nil || living {
			continue
		}
		if err := dir.Clean(); err != nil {
			s.Log.Error("cannot remove what a job left", "dir", string(dir), "error", err)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// tail records new entries until the terminal one, or until the runner is gone
// without it.
func (s *Service) tail(ctx context.Context, w *watched, gone <-chan struct{}) error {
	look, alive := time.NewTicker(lookEvery), time.NewTicker(aliveEvery)
	defer look.Stop()
	defer alive.Stop()
	for {
		dead := false
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-gone:
			dead = true
		case <-alive.C:
			living, err := w.dir.Alive()
			if err != nil {
				return err
			}
			dead = !living
		case <-look.C:
			if fi, err := os.Stat(w.dir.Journal()); err != nil || fi.Size() <= w.offset {
				continue
			}
		}
		ended, err := s.drain(ctx, w)
		if err != nil && !dead {
			return err
		}
		if ended {
			return nil
		}
		if dead {
			return s.bury(ctx, w, err)
		}
	}
}

// drain records the entries after w.offset. It says whether the job has ended.
func (s *Service) drain(ctx context.Context, w *watched) (ended bool, err error) {
	entries, next, rerr := w.dir.ReadJournal(w.offset)
	if len(entries) == 0 {
		return false, rerr
	}
	failpoint.Hit("ci.journal.record.before")
	err = s.write(ctx, w.run, func(tx store.Tx) error {
		for _, e := range entries {
			if err := apply(ctx, tx, w, e); err != nil {
				return fmt.Errorf("journal entry %s: %w", e.Type, err)
			}
		}
		_, err := tx.ExecContext(ctx, `UPDATE jobs SET "offset" = ? WHERE id = ?`, next, w.job)
		return err
	})
	if err != nil {
		return false, err
	}
	failpoint.Hit("ci.journal.record.after")
	w.offset = next
	if t, ok := jobdir.Terminal(entries); ok {
		s.Log.Info("job finished", "run", w.run, "job", w.key, "conclusion", t.Conclusion)
		return true, s.revoke(ctx, w)
	}
	return false, rerr
}

func (s *Service) revoke(ctx context.Context, w *watched) error {
	if err := s.Tokens.RevokeJob(ctx, w.run, w.key); err != nil {
		return fmt.Errorf("revoke token: %w", err)
	}
	return nil
}

// apply writes one journal entry into the tables.
func apply(ctx context.Context, tx store.Tx, w *watched, e jobdir.Entry) error {
	at := store.FormatTime(e.At)
	switch e.Type {
	case jobdir.JobStarted:
		for i, name := range e.Names {
			if _, err := tx.ExecContext(ctx, `INSERT INTO steps VALUES (?, ?, ?, ?, 'queued', '', '', '', '')`, engineActions, w.job, i+1, name); err != nil {
				return err
			}
		}
		return nil
	case jobdir.StepStarted:
		_, err := tx.ExecContext(ctx, `INSERT INTO steps VALUES (?, ?, ?, ?, 'in_progress', '', '', ?, '')
			ON CONFLICT (job, number) DO UPDATE SET name = excluded.name, status = excluded.status, started_at = excluded.started_at`, engineActions, w.job, e.Step, e.Name, at)
		return err
	case jobdir.StepFinished:
		_, err := tx.ExecContext(ctx, `UPDATE steps SET name = ?, status = 'completed', outcome = ?, conclusion = ?, finished_at = ? WHERE job = ? AND number = ?`,
			e.Name, e.Outcome, e.Conclusion, at, w.job, e.Step)
		return err
	case jobdir.Annotation:
		if e.Note == nil {
			return nil
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO annotations (job, step, level, title, file, line, message) VALUES (?, ?, ?, ?, ?, ?, ?)`, w.job, e.Step, e.Note.Level, e.Note.Title, e.Note.File, e.Note.Line, e.Note.Message)
		return err
	case jobdir.Artifact:
		if e.Image == nil {
			return nil
		}
		return appendImage(ctx, tx, w.run, w.key, *e.Image, e.At)
	case jobdir.JobFinished:
		return endJob(ctx, tx, w.run, w.key, e.Conclusion, e.Message, e.Outputs, e.At)
	}
	return fmt.Errorf("unknown type %q", e.Type)
}

// bury records that a runner ended without saying how its job ended. Its steps
// are not run again: nobody knows how far they came.
func (s *Service) bury(ctx context.Context, w *watched, cause error) error {
	message := "the runner ended before the job did"
	if cause != nil {
		message += ": " + cause.Error()
	}
	if tail := lastWords(w.dir.RunnerLog()); tail != "" {
		message += ": " + tail
	}
	s.Log.Error("runner ended before its job", "run", w.run, "job", w.key, "error", message)
	err := s.write(ctx, w.run, func(tx store.Tx) error {
		return endJob(ctx, tx, w.run, w.key, string(engine.Failure), message, nil, s.Now())
	})
	if err != nil {
		return err
	}
	if s.Sweep != nil {
		if err := s.Sweep(ctx); err != nil {
			s.Log.Error("cannot remove what a dead runner left", "run", w.run, "job", w.key, "error", err)
		}
	}
	return errors.Join(w.dir.Clean(), s.revoke(ctx, w))
}

// lastWords returns the end of a runner's own log.
func lastWords(path string) string {
	const most = 1000
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return ""
	}
	b := make([]byte, min(fi.Size(), most))
	n, _ := f.ReadAt(b, fi.Size()-int64(len(b)))
	return string(b[:n])
}

// attach finds the jobs that were running when the service last ended.
func (s *Service) attach(ctx context.Context) error {
	var list []watched
	err := s.DB.Read(ctx, func(q store.Queryer) error {
		rows, err := q.QueryContext(ctx, `SELECT id, run, key, "offset" FROM jobs WHERE status = 'in_progress' AND engine = ? ORDER BY id`, engineActions)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var w watched
			if err := rows.Scan(&w.job, &w.run, &w.key, &w.offset); err != nil {
				return err
			}
			w.dir = s.dir(w.run, w.key)
			list = append(list, w)
		}
		return rows.Err()
	})
	if err != nil {
		return err
	}
	s.tidyAll(list)
	for _, w := range list {
		living, err := w.dir.Alive()
		if err != nil {
			return err
		}
		entries, _, err := w.dir.ReadJournal(0)
		if err == nil && len(entries) == 0 && !living {
			// We died between marking the job as started and starting its
			// runner: no step has run.
			if err := s.relaunch(ctx, w); err != nil {
				return err
			}
			continue
		}
		s.Log.Info("found a running job", "run", w.run, "job", w.key, "alive", living)
		s.follow(ctx, w, nil)
	}
	return nil
}

// relaunch starts a job again of which nothing has run.
func (s *Service) relaunch(ctx context.Context, w watched) error {
	a, err := s.loadActive(ctx, w.run)
	if err != nil {
		return err
	}
	// Decide once more, as if it had not started; its needs have not changed.
	state := a.jobs[w.key]
	state.Started = false
	a.jobs[w.key] = state
	for _, act := range engineNext(a) {
		if act.Kind == engine.Start && act.JobID == w.key {
			return s.launch(ctx, a, w.key, w.job, act.Job)
		}
	}
	return s.write(ctx, w.run, func(tx store.Tx) error {
		return endJob(ctx, tx, w.run, w.key, string(engine.Cancelled), "the run was cancelled", nil, s.Now())
	})
}
