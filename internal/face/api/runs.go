package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/penstock-dev/penstock/internal/ci/runs"
)

// Runs is what the routes of CI runs need.
type Runs interface {
	List(ctx context.Context, repo string, limit int, before int64) ([]runs.Run, error)
	Get(ctx context.Context, id int64) (runs.Run, error)
	Logs(ctx context.Context, q runs.LogQuery, emit func(runs.LogLine) error) error
	Cancel(ctx context.Context, id int64) error
	Summary(ctx context.Context, id int64) (string, error)
}

type runList struct {
	Runs []runs.Run `json:"runs" nullable:"false"`
}

type runPath struct {
	ID int64 `path:"id" minimum:"1"`
}

type logRequest struct {
	ID     int64  `path:"id" minimum:"1"`
	Job    string `query:"job" doc:"id or name of a job; all jobs, in the order in which they started, when left out"`
	Step   int    `query:"step" minimum:"0" doc:"number of a step; all steps when left out"`
	From   int64  `query:"from" minimum:"0" doc:"first row of the step to give, counted from 0; needs job and step"`
	Limit  int64  `query:"limit" minimum:"0" doc:"how many rows of the step to give, all when 0 or left out; needs job and step"`
	Follow bool   `query:"follow" doc:"stay until the run (or the job) ends"`
	Prefix bool   `query:"prefix" doc:"begin every line with job, step and a tab"`
}

func (r *logRequest) query() runs.LogQuery {
	return runs.LogQuery{Run: r.ID, Job: r.Job, Step: r.Step, From: r.From, Limit: r.Limit, Follow: r.Follow}
}

// CIRuns registers /api/v1/runs.
func (a *API) CIRuns(s Runs) {
	const tag = "runs"
	huma.Register(a.huma, route("list-runs", http.MethodGet, "/api/v1/runs", tag, "List CI runs, newest first"),
		func(ctx context.Context, in *struct {
			Repo   string `query:"repo" doc:"owner/name; all repositories when left out"`
			Limit  int    `query:"limit" default:"30" minimum:"1" maximum:"500"`
			Before int64  `query:"before" minimum:"0" doc:"only runs older than the one with this id"`
		}) (*body[runList], error) {
			list, err := s.List(ctx, in.Repo, in.Limit, in.Before)
			return &body[runList]{runList{list}}, status(err)
		})
	huma.Register(a.huma, route("get-run", http.MethodGet, "/api/v1/runs/{id}", tag, "Show a CI run with its jobs and steps", http.StatusNotFound),
		func(ctx context.Context, in *runPath) (*body[runs.Run], error) {
			r, err := s.Get(ctx, in.ID)
			return &body[runs.Run]{r}, status(err)
		})
	cancel := route("cancel-run", http.MethodPost, "/api/v1/runs/{id}/cancel", tag, "Cancel a CI run", http.StatusNotFound, http.StatusUnprocessableEntity)
	cancel.DefaultStatus = http.StatusAccepted
	huma.Register(a.huma, cancel, func(ctx context.Context, in *runPath) (*struct{}, error) {
		return nil, status(s.Cancel(ctx, in.ID))
	})
	summary := route("get-run-summary", http.MethodGet, "/api/v1/runs/{id}/summary", tag, "What the steps of a CI run wrote into their summaries, as Markdown", http.StatusNotFound)
	summary.Responses = text("text/markdown")
	huma.Register(a.huma, summary, func(ctx context.Context, in *runPath) (*markdown, error) {
		b, err := s.Summary(ctx, in.ID)
		return &markdown{"text/markdown; charset=utf-8", []byte(b)}, status(err)
	})
	logs := route("get-run-logs", http.MethodGet, "/api/v1/runs/{id}/logs", tag, "Log of a CI run as lines of text: time, blank, text", http.StatusNotFound, http.StatusUnprocessableEntity)
	logs.Responses = text("text/plain")
	huma.Register(a.huma, logs, func(ctx context.Context, in *logRequest) (*huma.StreamResponse, error) {
		if err := in.query().Check(); err != nil {
			return nil, status(err)
		}
		r, err := s.Get(ctx, in.ID)
		if err == nil && in.Job != "" {
			_, err = r.JobKey(in.Job)
		}
		if err != nil {
			return nil, status(err)
		}
		return &huma.StreamResponse{Body: func(hctx huma.Context) { streamLog(hctx, s, in) }}, nil
	})
}

// text describes an answer that is not JSON.
func text(contentType string) map[string]*huma.Response {
	return map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{contentType: {Schema: &huma.Schema{Type: huma.TypeString}}}}}
}

// markdown is an answer as it is.
type markdown struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

// A reader that takes nothing for this long is dropped.
const logWrite = 30 * time.Second

// streamLog writes the log as it comes. The server's time limit for answers
// does not apply: each write has its own.
func streamLog(hctx huma.Context, s Runs, in *logRequest) {
	w := hctx.BodyWriter()
	rw, _ := w.(http.ResponseWriter)
	var control *http.ResponseController
	if rw != nil {
		control = http.NewResponseController(rw)
	}
	hctx.SetHeader("Content-Type", "text/plain; charset=utf-8")
	hctx.SetHeader("X-Content-Type-Options", "nosniff")
	if control != nil {
		_ = control.Flush() // a follower sees at once that it is connected
	}
	ctx, cancel := context.WithCancel(hctx.Context())
	defer cancel()
	lines := make(chan runs.LogLine, 1024)
	ended := make(chan error, 1)
	go func() {
		defer close(lines)
		ended <- s.Logs(ctx, in.query(), func(l runs.LogLine) error {
			select {
			case lines <- l:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	var chunk strings.Builder
	for l := range lines {
		writeLine(&chunk, l, in.Prefix)
		for more := true; more && chunk.Len() < 64<<10; {
			select {
			case l, ok := <-lines:
				if !ok {
					more = false
					break
				}
				writeLine(&chunk, l, in.Prefix)
			default:
				more = false
			}
		}
		if control != nil {
			_ = control.SetWriteDeadline(time.Now().Add(logWrite))
		}
		if _, err := w.Write([]byte(chunk.String())); err != nil {
			cancel()
			continue // until the producer has seen it
		}
		if control != nil {
			_ = control.Flush()
		}
		chunk.Reset()
	}
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		_, _ = w.Write([]byte("error: " + err.Error() + "\n"))
	}
}

func writeLine(b *strings.Builder, l runs.LogLine, prefix bool) {
	if prefix {
		b.WriteString(l.Job)
		b.WriteByte('\t')
		b.WriteString(l.StepName)
		b.WriteByte('\t')
	}
	b.WriteString(l.Text)
	b.WriteByte('\n')
}
