package runs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/ci/jobdir"
)

// LogQuery chooses what [Service.Logs] gives.
type LogQuery struct {
	Run    int64
	Job    string // key or name of the job; "" is all jobs, in the order in which they started
	Step   int    // number of the step; 0 is all
	Follow bool   // wait for more until the run (or the job) ends

	// Rows of one step, which Job and Step must name: the first one, counted
	// from 0, and how many; 0 is all.
	From, Limit int64
}

// Check refuses what makes no sense.
func (q LogQuery) Check() error {
	if (q.From != 0 || q.Limit != 0) && (q.Job == "" || q.Step == 0) {
		return fmt.Errorf("rows are counted in each step: name job and step with from and limit: %w", problem.ErrInvalid)
	}
	if q.From < 0 || q.Limit < 0 {
		return fmt.Errorf("rows %d from %d: %w", q.Limit, q.From, problem.ErrInvalid)
	}
	return nil
}

// LogLine is one line of a log.
type LogLine struct {
	Job      string
	Step     int
	StepName string
	Row      int64  // in the step, from 0
	Text     string // time, blank, text
}

// A follower looks this often for more.
const followEvery = 25 * time.Millisecond

// Logs hands the lines to emit, oldest first, until the end of what there is
// (or with Follow, until the jobs asked for have ended) or ctx ends. An error
// of emit ends it too.
func (s *Service) Logs(ctx context.Context, q LogQuery, emit func(LogLine) error) error {
	if err := q.Check(); err != nil {
		return err
	}
	done := map[string]bool{}
	for {
		run, err := s.Get(ctx, q.Run)
		if err != nil {
			return err
		}
		if q.Job != "" {
			if q.Job, err = run.JobKey(q.Job); err != nil {
				return err
			}
		}
		var next Job
		open := false
		for _, j := range run.Jobs {
			if done[j.Key] || q.Job != "" && q.Job != j.Key {
				continue
			}
			if j.Status == Completed && len(j.Steps) == 0 {
				done[j.Key] = true // skipped: there is no log
				continue
			}
			if j.Status == Queued {
				open = true
				continue
			}
			if next.Key == "" || j.StartedAt.Before(next.StartedAt) {
				next = j
			}
		}
		switch {
		case next.Key != "":
			if err := s.jobLog(ctx, q, next, emit); err != nil {
				return err
			}
			done[next.Key] = true
		case !q.Follow || !open && run.Status == Completed || !open && q.Job != "":
			return nil
		default:
			if !sleep(ctx, followEvery) {
				return ctx.Err()
			}
		}
	}
}

// JobKey finds a job by its key or, failing that, by its name.
func (r Run) JobKey(name string) (string, error) {
	for _, j := range r.Jobs {
		if j.Key == name {
			return j.Key, nil
		}
	}
	for _, j := range r.Jobs {
		if j.Name == name {
			return j.Key, nil
		}
	}
	return "", fmt.Errorf("job %q of run %d: %w", name, r.ID, problem.ErrNotFound)
}

// jobLog hands out the log of one job.
func (s *Service) jobLog(ctx context.Context, q LogQuery, job Job, emit func(LogLine) error) error {
	r := logReader{s: s, q: q, key: job.Key, dir: s.dir(q.Run, job.Key), emit: emit,
		progress: progress{names: map[int]string{}, finished: map[int]bool{}}}
	r.take(job)
	for n := 1; ; n++ {
		if err := r.look(); err != nil {
			return err
		}
		for q.Follow && !r.ended && r.latest < n { // the step has not started
			if err := r.wait(ctx); err != nil {
				return err
			}
		}
		if n > r.latest || q.Step != 0 && n > q.Step {
			return nil
		}
		if q.Step != 0 && q.Step != n {
			continue
		}
		if err := r.step(ctx, n); err != nil {
			return err
		}
	}
}

// Summary returns what the steps of a run wrote into their summaries, as
// Markdown.
func (s *Service) Summary(ctx context.Context, id int64) (string, error) {
	run, err := s.Get(ctx, id)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, j := range run.Jobs {
		dir := s.dir(id, j.Key)
		heading := fmt.Sprintf("# %s\n\n", j.Name)
		for _, step := range j.Steps {
			text, err := s.summary(ctx, dir, id, j.Key, step.Number)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, problem.ErrNotFound) {
				continue
			}
			if err != nil {
				return "", fmt.Errorf("summary of step %d of job %s: %w", step.Number, j.Key, err)
			}
			b.WriteString(heading)
			heading = ""
			b.Write(text)
			b.WriteByte('\n')
		}
	}
	return b.String(), nil
}

// summary reads what a step wrote into its summary, where it is by now.
func (s *Service) summary(ctx context.Context, dir jobdir.Dir, run int64, key string, step int) ([]byte, error) {
	text, err := os.ReadFile(dir.Summary(step))
	if !errors.Is(err, fs.ErrNotExist) {
		return text, err
	}
	r, _, err := s.Blobs.Get(ctx, summaryKey(run, key, step), 0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}
