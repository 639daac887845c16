package demo

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/face/live"
	"github.com/penstock-dev/penstock/internal/face/mark"
)

// run is a CI run as the API shows it, as much as the demo reads.
type run struct {
	ID         int64  `json:"id"`
	Number     int64  `json:"number"`
	Workflow   string `json:"workflow"`
	Commit     string `json:"commit"`
	Status     string `json:"status"`
	Conclusion string `json:"conclusion"`
	Message    string `json:"message"`
	Jobs       []job  `json:"jobs"`
}

type job struct {
	Name        string    `json:"name"`
	Status      string    `json:"status"`
	Conclusion  string    `json:"conclusion"`
	StartedAt   time.Time `json:"startedAt"`
	CompletedAt time.Time `json:"completedAt"`
	Steps       []step    `json:"steps"`
}

type step struct {
	Name        string    `json:"name"`
	Status      string    `json:"status"`
	Conclusion  string    `json:"conclusion"`
	StartedAt   time.Time `json:"startedAt"`
	CompletedAt time.Time `json:"completedAt"`
}

// How often we look, and how long a run may take to appear.
const (
	lookEvery = 100 * time.Millisecond
	runWithin = 20 * time.Second
)

// lastJob is the job that ended last.
func (r run) lastJob() job {
	var last job
	for _, j := range r.Jobs {
		if !j.CompletedAt.Before(last.CompletedAt) {
			last = j
		}
	}
	return last
}

// items shows jobs and steps below the run.
func (r run) items() []live.Item {
	var all []live.Item
	for _, j := range r.Jobs {
		all = append(all, live.Item{Depth: 1, State: mark.Run(j.Status, j.Conclusion), Name: j.Name, Began: j.StartedAt, Ended: j.CompletedAt})
		for _, s := range j.Steps {
			all = append(all, live.Item{Depth: 2, State: mark.Run(s.Status, s.Conclusion), Name: s.Name, Began: s.StartedAt, Ended: s.CompletedAt})
		}
	}
	return all
}

// followRun finds the run of a commit and shows it until it ends. firstLog is
// when its first log line arrived here.
func (d *Demo) followRun(ctx context.Context, topic, commit string) (r run, firstLog time.Time, err error) {
	id, err := d.findRun(ctx, commit)
	if err != nil {
		return run{}, time.Time{}, err
	}
	var logs sync.WaitGroup
	logs.Go(func() { firstLog = d.firstLine(ctx, id) })
	defer logs.Wait()
	for {
		if err := d.o.API.Do(ctx, http.MethodGet, runPath(id), nil, &r); err != nil {
			return r, firstLog, failed("read run", strconv.FormatInt(id, 10), err)
		}
		state, detail := mark.Run(r.Status, r.Conclusion), fmt.Sprintf("%s, run %d", shopRepo, r.ID)
		if r.Status == "completed" {
			d.board.set(topic, state, detail, r.items())
			d.board.end(topic, state, detail)
			if state != "passed" {
				return r, firstLog, d.runFailed(ctx, r)
			}
			logs.Wait()
			return r, firstLog, nil
		}
		d.board.set(topic, state, detail, r.items())
		if err := sleep(ctx, lookEvery); err != nil {
			return r, firstLog, err
		}
	}
}

func runPath(id int64) string { return "/api/v1/runs/" + strconv.FormatInt(id, 10) }

func (d *Demo) findRun(ctx context.Context, commit string) (int64, error) {
	deadline := time.Now().Add(runWithin)
	for {
		var list struct {
			Runs []run `json:"items"`
		}
		if err := d.o.API.Do(ctx, http.MethodGet, "/api/v1/runs?limit=20&repo="+url.QueryEscape(shopRepo), nil, &list); err != nil {
			return 0, failed("list runs of", shopRepo, err)
		}
		for _, r := range list.Runs {
			if r.Commit == commit {
				return r.ID, nil
			}
		}
		if time.Now().After(deadline) {
			return 0, &problem.Error{Op: "wait for the run of", Subject: short(commit), Err: fmt.Errorf("%w: no run within %v of the push", problem.ErrTimeout, runWithin), Hint: "penstock ci list --repo " + shopRepo}
		}
		if err := sleep(ctx, lookEvery/2); err != nil {
			return 0, err
		}
	}
}

// firstLine returns when the first line of the run's log arrived.
func (d *Demo) firstLine(ctx context.Context, id int64) time.Time {
	body, err := d.o.API.Stream(ctx, http.MethodGet, runPath(id)+"/logs?follow=1", nil, "")
	if err != nil {
		return time.Time{}
	}
	defer body.Close()
	if _, err := bufio.NewReader(body).ReadByte(); err != nil {
		return time.Time{}
	}
	return time.Now()
}

// runFailed explains a run that did not succeed, with the end of its log.
func (d *Demo) runFailed(ctx context.Context, r run) error {
	cause := fmt.Errorf("%w: %s", problem.ErrNegative, mark.Run(r.Status, r.Conclusion))
	hint := "penstock ci logs " + strconv.FormatInt(r.ID, 10)
	if r.Message != "" {
		cause = fmt.Errorf("%w\n%s", cause, r.Message)
	}
	for _, j := range r.Jobs {
		if mark.Run(j.Status, j.Conclusion) != "failed" {
			continue
		}
		hint += " --job " + j.Name
		if tail := d.logTail(ctx, r.ID, j.Name); tail != "" {
			cause = fmt.Errorf("%w in job %s:\n%s", cause, j.Name, tail)
		}
		break
	}
	return &problem.Error{Op: "run the workflow of", Subject: shopRepo, Err: cause, Hint: hint}
}

// logTail returns the last lines of a job's log, "" when it cannot be read:
// there is a better error to show already.
func (d *Demo) logTail(ctx context.Context, id int64, job string) string {
	body, err := d.o.API.Stream(ctx, http.MethodGet, runPath(id)+"/logs?job="+url.QueryEscape(job), nil, "")
	if err != nil {
		return ""
	}
	defer body.Close()
	var last []string
	for lines := bufio.NewScanner(io.LimitReader(body, 64<<20)); lines.Scan(); {
		last = append(last, "  "+lines.Text())
		if len(last) > 20 {
			last = last[1:]
		}
	}
	return strings.Join(last, "\n")
}

// sleep waits, or returns why ctx ended.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
