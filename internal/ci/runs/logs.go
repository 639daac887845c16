package runs

import (
	"bufio"
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
}

// LogLine is one line of a log.
type LogLine struct {
	Job      string
	Step     int
	StepName string
	Text     string // time, blank, text
}

// A follower looks this often for more.
const followEvery = 25 * time.Millisecond

// Logs hands the lines to emit, oldest first, until the end of what there is
// (or with Follow, until the jobs asked for have ended) or ctx ends. An error
// of emit ends it too.
func (s *Service) Logs(ctx context.Context, q LogQuery, emit func(LogLine) error) error {
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
		next := ""
		var started time.Time
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
			if next == "" || j.StartedAt.Before(started) {
				next, started = j.Key, j.StartedAt
			}
		}
		switch {
		case next != "":
			if err := s.jobLog(ctx, q, next, emit); err != nil {
				return err
			}
			done[next] = true
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
func (s *Service) jobLog(ctx context.Context, q LogQuery, key string, emit func(LogLine) error) error {
	dir := s.dir(q.Run, key)
	state := journalState{names: map[int]string{}, finished: map[int]bool{}}
	for n := 1; ; n++ {
		if err := state.read(dir); err != nil {
			return err
		}
		wanted := q.Step == 0 || q.Step == n
		for q.Follow && !state.ended && state.latest < n { // the step has not started
			if err := s.wait(ctx, q.Run, key, dir, &state); err != nil {
				return err
			}
		}
		if n > state.latest || q.Step != 0 && n > q.Step {
			return nil
		}
		if !wanted {
			continue
		}
		if err := s.stepLog(ctx, q, key, n, dir, &state, emit); err != nil {
			return err
		}
	}
}

// wait sleeps a little and reads the journal again. A runner that died is the
// end, too.
func (s *Service) wait(ctx context.Context, run int64, key string, dir jobdir.Dir, state *journalState) error {
	if !sleep(ctx, followEvery) {
		return ctx.Err()
	}
	if state.looks++; state.looks%40 == 0 {
		r, err := s.Get(ctx, run)
		if err != nil {
			return err
		}
		for _, j := range r.Jobs {
			state.ended = state.ended || j.Key == key && j.Status == Completed
		}
	}
	return state.read(dir)
}

// stepLog hands out the log of one step.
func (s *Service) stepLog(ctx context.Context, q LogQuery, key string, n int, dir jobdir.Dir, state *journalState, emit func(LogLine) error) error {
	f, err := os.Open(dir.Log(n))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 64<<10)
	part := ""
	for {
		text, err := r.ReadString('\n')
		part += text
		if err == nil {
			if err := emit(LogLine{key, n, state.names[n], strings.TrimSuffix(part, "\n")}); err != nil {
				return err
			}
			part = ""
			continue
		}
		if !errors.Is(err, io.EOF) {
			return err
		}
		// All that was there has been read. It is complete only when the step
		// had finished before we looked.
		if !q.Follow || state.ended || state.finished[n] {
			return nil
		}
		if err := s.wait(ctx, q.Run, key, dir, state); err != nil {
			return err
		}
	}
}

// journalState is what the log reader needs from a journal.
type journalState struct {
	offset   int64
	latest   int // highest step that started
	names    map[int]string
	finished map[int]bool
	ended    bool
	looks    int
}

func (j *journalState) read(dir jobdir.Dir) error {
	entries, next, err := dir.ReadJournal(j.offset)
	if err != nil {
		return err
	}
	j.offset = next
	for _, e := range entries {
		switch e.Type {
		case jobdir.StepStarted:
			j.latest = max(j.latest, e.Step)
			j.names[e.Step] = e.Name
		case jobdir.StepFinished:
			j.finished[e.Step] = true
		case jobdir.JobFinished:
			j.ended = true
		}
	}
	return nil
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
			text, err := os.ReadFile(dir.Summary(step.Number))
			if errors.Is(err, fs.ErrNotExist) {
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
