package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/penstock-dev/penstock/internal/ci/runs"
)

// Runs is what the routes of CI runs need.
type Runs interface {
	List(ctx context.Context, q runs.ListQuery) ([]runs.Run, error)
	Get(ctx context.Context, id int64) (runs.Run, error)
	Logs(ctx context.Context, q runs.LogQuery, emit func(runs.LogLine) error) error
	// LogRows says how many rows the log of a step has by now, and whether
	// that is all of it. job is the key of the job.
	LogRows(ctx context.Context, run int64, job string, step int) (rows int64, all bool, err error)
	Cancel(ctx context.Context, id int64) error
	Summary(ctx context.Context, id int64) (string, error)
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

type runQuery struct {
	Paging
	Sort   string `query:"sort" enum:"-createdAt,createdAt" default:"-createdAt"`
	Repo   string `query:"repo" maxLength:"201" doc:"owner/name; all repositories when left out"`
	Status string `query:"status" enum:"queued,in_progress,completed"`
	// Not an enumeration: engines may bring conclusions of their own.
	Conclusion string `query:"conclusion" maxLength:"40" doc:"success, failure, cancelled, skipped, startup_failure"`
	Event      string `query:"event" maxLength:"40"`
	Ref        string `query:"ref" maxLength:"500" doc:"full name: refs/heads/main"`
	Actor      string `query:"actor" maxLength:"100"`
}

// target is the owner of the repository that is asked for, "" for all.
func (q *runQuery) target(context.Context) (target, error) {
	return target{project: owner(q.Repo)}, nil
}

// listRuns reads a piece of the list for a caller who may not see all.
func listRuns(ctx context.Context, s Runs, in *runQuery) (Page[runs.Run], error) {
	q := runs.ListQuery{
		Repo: in.Repo, Status: in.Status, Conclusion: in.Conclusion, Event: in.Event, Ref: in.Ref, Actor: in.Actor,
		OldestFirst: in.Sort == "createdAt",
	}
	return pageBySeq(in.Paging, listID("runs", in.Sort, in.Repo, in.Status, in.Conclusion, in.Event, in.Ref, in.Actor), seesAll(ctx),
		func(after int64, limit int) ([]runs.Run, error) {
			q.After, q.Limit = after, limit
			return s.List(ctx, q)
		},
		func(r runs.Run) (int64, bool) { return r.ID, sees(ctx, owner(r.Repo)) })
}

// owner is the project that a repository belongs to.
func owner(repo string) string {
	o, _, _ := strings.Cut(repo, "/")
	return o
}

// CIRuns registers /api/v1/runs.
func (a *API) CIRuns(s Runs) {
	const tag, resource = "runs", "runs"
	of := func(ctx context.Context, id int64) (target, error) {
		r, err := s.Get(ctx, id)
		return target{project: owner(r.Repo), name: strconv.FormatInt(id, 10)}, err
	}
	ofPath := func(ctx context.Context, in *runPath) (target, error) { return of(ctx, in.ID) }
	handle(a, route("list-runs", http.MethodGet, "/api/v1/runs", tag, "List CI runs, newest first", http.StatusUnprocessableEntity),
		need{verb: "list", resource: resource, scoped: true},
		func(ctx context.Context, in *runQuery) (target, error) { return in.target(ctx) },
		func(ctx context.Context, in *runQuery) (*body[Page[runs.Run]], error) {
			page, err := listRuns(ctx, s, in)
			return &body[Page[runs.Run]]{page}, err
		})
	handle(a, route("get-run", http.MethodGet, "/api/v1/runs/{id}", tag, "Show a CI run with its jobs and steps", http.StatusNotFound),
		need{verb: "get", resource: resource, hidden: true}, ofPath,
		func(ctx context.Context, in *runPath) (*body[runs.Run], error) {
			r, err := s.Get(ctx, in.ID)
			return &body[runs.Run]{r}, err
		})
	cancel := route("cancel-run", http.MethodPost, "/api/v1/runs/{id}/cancel", tag, "Cancel a CI run", http.StatusNotFound, http.StatusUnprocessableEntity)
	cancel.DefaultStatus = http.StatusAccepted
	handle(a, cancel, need{verb: "update", resource: resource, hidden: true}, ofPath,
		func(ctx context.Context, in *runPath) (*struct{}, error) {
			return nil, s.Cancel(ctx, in.ID)
		})
	summary := route("get-run-summary", http.MethodGet, "/api/v1/runs/{id}/summary", tag, "What the steps of a CI run wrote into their summaries, as Markdown", http.StatusNotFound)
	summary.Responses = text("text/markdown")
	handle(a, summary, need{verb: "get", resource: "runs/log", hidden: true}, ofPath,
		func(ctx context.Context, in *runPath) (*markdown, error) {
			b, err := s.Summary(ctx, in.ID)
			return &markdown{"text/markdown; charset=utf-8", []byte(b)}, err
		})
	logs := route("get-run-logs", http.MethodGet, "/api/v1/runs/{id}/logs", tag, "Log of a CI run as lines of text: time, blank, text", http.StatusNotFound, http.StatusUnprocessableEntity)
	logs.Responses = text("text/plain")
	logs.Responses["200"].Headers = map[string]*huma.Param{
		headerRows:     {Description: "rows that the step's log had by then, when job and step were named", Schema: &huma.Schema{Type: huma.TypeInteger}},
		headerComplete: {Description: "whether that is all of it", Schema: &huma.Schema{Type: huma.TypeBoolean}},
	}
	handle(a, logs, need{verb: "get", resource: "runs/log", hidden: true},
		func(ctx context.Context, in *logRequest) (target, error) { return of(ctx, in.ID) },
		func(ctx context.Context, in *logRequest) (*huma.StreamResponse, error) {
			if err := in.query().Check(); err != nil {
				return nil, err
			}
			r, err := s.Get(ctx, in.ID)
			job := ""
			if err == nil && in.Job != "" {
				job, err = r.JobKey(in.Job)
			}
			if err != nil {
				return nil, err
			}
			var rows int64
			var all bool
			if job != "" && in.Step > 0 {
				if rows, all, err = s.LogRows(ctx, in.ID, job, in.Step); err != nil {
					return nil, err
				}
			}
			return &huma.StreamResponse{Body: func(hctx huma.Context) {
				if job != "" && in.Step > 0 {
					hctx.SetHeader(headerRows, strconv.FormatInt(rows, 10))
					hctx.SetHeader(headerComplete, strconv.FormatBool(all))
				}
				streamLog(hctx, s, in)
			}}, nil
		})
}

// What an answer with the log of one step says of it, for viewers that fetch
// the rows they show.
const (
	headerRows     = "Penstock-Log-Rows"
	headerComplete = "Penstock-Log-Complete"
)

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
