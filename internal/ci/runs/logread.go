package runs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/ci/jobdir"
	"github.com/penstock-dev/penstock/internal/host/logstore"
)

// progress is how far a job has come, as the reader of its logs knows it.
type progress struct {
	offset   int64 // in the journal
	latest   int   // highest step that started
	names    map[int]string
	finished map[int]bool
	ended    bool
}

// read takes in what the journal has to add.
func (p *progress) read(dir jobdir.Dir) error {
	entries, next, err := dir.ReadJournal(p.offset)
	if err != nil {
		return err
	}
	p.offset = next
	for _, e := range entries {
		switch e.Type {
		case jobdir.StepStarted:
			p.latest = max(p.latest, e.Step)
			p.names[e.Step] = e.Name
		case jobdir.StepFinished:
			p.finished[e.Step] = true
		case jobdir.JobFinished:
			p.ended = true
		}
	}
	return nil
}

// take takes in what is recorded of a job that has ended, whose journal may be
// gone.
func (p *progress) take(j Job) {
	if j.Status != Completed {
		return
	}
	p.ended = true
	for _, st := range j.Steps {
		if !st.StartedAt.IsZero() {
			p.latest = max(p.latest, st.Number)
			p.names[st.Number] = st.Name
		}
	}
}

// logReader hands out the log of one job.
type logReader struct {
	s    *Service
	q    LogQuery
	key  string // of the job
	dir  jobdir.Dir
	emit func(LogLine) error
	progress
	looks int
}

// look reads the journal of a job that is running.
func (r *logReader) look() error {
	if r.ended {
		return nil
	}
	return r.read(r.dir)
}

// wait sleeps a little and looks again. A runner that died is the end, too.
func (r *logReader) wait(ctx context.Context) error {
	if !sleep(ctx, followEvery) {
		return ctx.Err()
	}
	if r.looks++; r.looks%40 == 0 {
		run, err := r.s.Get(ctx, r.q.Run)
		if err != nil {
			return err
		}
		for _, j := range run.Jobs {
			if j.Key == r.key {
				r.take(j)
			}
		}
	}
	return r.look()
}

// step hands out the log of step n.
func (r *logReader) step(ctx context.Context, n int) error {
	log, err := r.s.openLog(ctx, r.q.Run, r.key, n)
	if errors.Is(err, problem.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer log.Close()
	from, limit := r.q.From, int64(-1)
	if r.q.Limit > 0 {
		limit = r.q.Limit
	}
	for {
		// What is there is all only when the step had finished before we read.
		all := !r.q.Follow || r.ended || r.finished[n]
		next, err := log.Read(ctx, from, limit, func(row int64, text []byte) error {
			return r.emit(LogLine{r.key, n, r.names[n], row, string(text)})
		})
		if errors.Is(err, logstore.ErrCorrupt) {
			return r.emit(LogLine{r.key, n, r.names[n], next, logstore.Damage(time.Now(), err)})
		}
		if err != nil {
			return err
		}
		if limit > 0 {
			limit -= next - from
		}
		from = next
		if all || limit == 0 {
			return nil
		}
		if err := r.wait(ctx); err != nil {
			return err
		}
	}
}

// openLog opens the log of a step, where it is by now.
func (s *Service) openLog(ctx context.Context, run int64, key string, step int) (logstore.Reader, error) {
	log, err := logstore.OpenFile(s.dir(run, key).Log(step))
	if errors.Is(err, fs.ErrNotExist) {
		log, err = logstore.OpenSealed(ctx, s.Blobs, logKey(run, key, step))
	}
	if err != nil {
		return nil, fmt.Errorf("log of step %d of job %s: %w", step, key, err)
	}
	return log, nil
}

// LogRows says how many rows the log of a step has, and whether that is all of
// it. key is that of the job.
func (s *Service) LogRows(ctx context.Context, run int64, key string, step int) (rows int64, all bool, err error) {
	r, err := s.Get(ctx, run)
	if err != nil {
		return 0, false, err
	}
	for _, j := range r.Jobs {
		for _, st := range j.Steps {
			if j.Key == key && st.Number == step {
				all = st.Status == Completed
			}
		}
	}
	log, err := s.openLog(ctx, run, key, step)
	if errors.Is(err, problem.ErrNotFound) {
		return 0, all, nil // a step that did not run
	}
	if err != nil {
		return 0, false, err
	}
	defer log.Close()
	rows, err = log.Rows(ctx)
	return rows, all, err
}
