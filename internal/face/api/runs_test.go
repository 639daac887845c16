package api

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/ci/runs"
)

// line is a run whose log comes line by line, as the test lets it.
type line struct {
	next  chan string
	ended chan struct{} // closed when Logs returns
}

func (l *line) List(context.Context, runs.ListQuery) ([]runs.Run, error) { return nil, nil }

func (l *line) Get(_ context.Context, id int64) (runs.Run, error) {
	if id != 7 {
		return runs.Run{}, fmt.Errorf("run %d: %w", id, problem.ErrNotFound)
	}
	return runs.Run{ID: 7, Jobs: []runs.Job{{Key: "a", Name: "A job"}}}, nil
}

func (l *line) LogRows(_ context.Context, run int64, job string, step int) (int64, bool, error) {
	return run*100 + int64(step), job == "a", nil
}

func (l *line) Cancel(context.Context, int64) error { return nil }

func (l *line) Summary(context.Context, int64) (string, error) { return "# a\n", nil }

func (l *line) Logs(ctx context.Context, q runs.LogQuery, emit func(runs.LogLine) error) error {
	defer close(l.ended)
	for {
		select {
		case text, ok := <-l.next:
			if !ok {
				return nil
			}
			if err := emit(runs.LogLine{Job: "a", Step: 2, StepName: "s", Text: fmt.Sprintf("%s %d %s %d %v", text, q.Run, q.Job, q.Step, q.Follow)}); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func openLog(t *testing.T, ctx context.Context, l *line, path string) *http.Response {
	t.Helper()
	a := New()
	a.CIRuns(l)
	url, _ := serve(t, a.Handler(auth{}))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer good")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// TestLogArrivesAsItComes: each line is there before the next one exists.
func TestLogArrivesAsItComes(t *testing.T) {
	l := &line{next: make(chan string), ended: make(chan struct{})}
	resp := openLog(t, t.Context(), l, "/api/v1/runs/7/logs?follow=1&job=A+job&step=2&prefix=true")
	defer resp.Body.Close()
	if resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
		t.Fatalf("%s %v", resp.Status, resp.Header)
	}
	r := bufio.NewReader(resp.Body)
	for i := range 3 {
		l.next <- fmt.Sprint("line", i)
		got, err := r.ReadString('\n')
		if want := fmt.Sprintf("a\ts\tline%d 7 A job 2 true\n", i); err != nil || got != want {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
	}
	close(l.next)
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
}

// TestReaderThatLeavesEndsTheLog: nothing goes on reading for it.
func TestReaderThatLeavesEndsTheLog(t *testing.T) {
	l := &line{next: make(chan string, 1), ended: make(chan struct{})}
	ctx, leave := context.WithCancel(t.Context())
	resp := openLog(t, ctx, l, "/api/v1/runs/7/logs?follow=1")
	defer resp.Body.Close()
	leave()
	select {
	case <-l.ended:
	case <-time.After(10 * time.Second):
		t.Error("the log is still read")
	}
}

func TestLogsOfNothing(t *testing.T) {
	for _, path := range []string{"/api/v1/runs/8/logs", "/api/v1/runs/7/logs?job=b", "/api/v1/runs/9"} {
		resp := openLog(t, t.Context(), &line{ended: make(chan struct{})}, path)
		resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
}

func TestSummaryIsMarkdown(t *testing.T) {
	resp := openLog(t, t.Context(), &line{ended: make(chan struct{})}, "/api/v1/runs/7/summary")
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || string(b) != "# a\n" || resp.Header.Get("Content-Type") != "text/markdown; charset=utf-8" {
		t.Errorf("%q, %v, %v", b, err, resp.Header)
	}
}

// TestRowsNeedJobAndStep: rows are counted in each step.
func TestRowsNeedJobAndStep(t *testing.T) {
	for query, want := range map[string]int{"from=3": 422, "limit=3&job=a": 422, "job=a&step=2&from=-1": 422, "job=a&step=2&from=3&limit=4": 200} {
		l := &line{next: make(chan string), ended: make(chan struct{})}
		close(l.next)
		resp := openLog(t, t.Context(), l, "/api/v1/runs/7/logs?"+query)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %s, want %d", query, resp.Status, want)
		}
		rows, complete := resp.Header.Get("Penstock-Log-Rows"), resp.Header.Get("Penstock-Log-Complete")
		if want == 200 && (rows != "702" || complete != "true") {
			t.Errorf("%s: %q rows, complete %q", query, rows, complete)
		}
	}
}
