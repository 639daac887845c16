package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/face/client"

	"github.com/penstock-dev/penstock/internal/face/live"
)

// recorded keeps every picture.
type recorded struct{ last []live.Item }

func (r *recorded) Update(items []live.Item) { r.last = items }
func (r *recorded) Close()                   {}

// against makes a demo whose API is at a real HTTP server.
func against(t *testing.T, h http.Handler) (*Demo, *recorded) {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	api, err := client.New(srv.URL, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	view := &recorded{}
	return New(Options{API: api, Server: srv.URL, Gateway: u.Port(), View: view}), view
}

// runServer serves one run that goes through the given states, one a request.
func runServer(t *testing.T, states ...run) http.Handler {
	var n atomic.Int64
	answer := func(w http.ResponseWriter, v any) {
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/runs", func(w http.ResponseWriter, r *http.Request) {
		if got := r.URL.Query().Get("repo"); got != shopRepo {
			t.Errorf("runs of %q were listed", got)
		}
		answer(w, map[string]any{"items": []run{{ID: 6, Commit: "other"}, {ID: 7, Commit: "c0ffee"}}})
	})
	mux.HandleFunc("GET /api/v1/runs/7", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, states[min(int(n.Add(1))-1, len(states)-1)])
	})
	mux.HandleFunc("GET /api/v1/runs/7/logs", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "one\ntwo\n", r.URL.Query().Get("job"), " is broken\n")
	})
	return mux
}

func TestFollowRun(t *testing.T) {
	began := time.Now().Add(-time.Second).UTC()
	d, view := against(t, runServer(t,
		run{ID: 7, Status: "queued"},
		run{ID: 7, Status: "in_progress", Jobs: []job{{Name: "test", Status: "in_progress", StartedAt: began}}},
		run{ID: 7, Status: "completed", Conclusion: "success", Jobs: []job{
			{Name: "test", Status: "completed", Conclusion: "success", StartedAt: began, CompletedAt: began.Add(time.Second)},
		}},
	))
	r, firstLog, err := d.followRun(t.Context(), "workflow", "c0ffee")
	if err != nil || r.ID != 7 || r.lastJob().Name != "test" {
		t.Fatalf("run %+v, %v", r, err)
	}
	if firstLog.IsZero() {
		t.Error("no first log line")
	}
	if len(view.last) != 2 || view.last[0].State != "passed" || view.last[1].State != "passed" || view.last[1].Name != "test" {
		t.Errorf("last picture %+v", view.last)
	}
}

func TestFollowRunExplainsAFailure(t *testing.T) {
	d, _ := against(t, runServer(t, run{ID: 7, Status: "completed", Conclusion: "failure", Jobs: []job{
		{Name: "test", Status: "completed", Conclusion: "success"},
		{Name: "image", Status: "completed", Conclusion: "failure"},
	}}))
	_, _, err := d.followRun(t.Context(), "workflow", "c0ffee")
	var p *problem.Error
	if !errors.As(err, &p) || problem.ExitCode(err) != problem.ExitNegative {
		t.Fatalf("error %v, want one with exit code %d", err, problem.ExitNegative)
	}
	if p.Hint != "penstock ci logs 7 --job image" || !strings.Contains(err.Error(), "image is broken") {
		t.Errorf("error %q, hint %q", err, p.Hint)
	}
}

func TestFollowRunEndsWithItsContext(t *testing.T) {
	d, _ := against(t, runServer(t, run{ID: 7, Status: "in_progress"}))
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, problem.ErrTimeout)
	defer cancel()
	if _, _, err := d.followRun(ctx, "workflow", "c0ffee"); !errors.Is(err, problem.ErrTimeout) {
		t.Errorf("error %v, want %v", err, problem.ErrTimeout)
	}
}

func TestWaitAnswer(t *testing.T) {
	var asked atomic.Int64
	d, _ := against(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := asked.Add(1)
		switch {
		case !strings.HasPrefix(r.Host, "shop-dev.localhost:"):
			t.Errorf("asked for %s", r.Host)
		case n == 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Path == "/version" && n < 5:
			fmt.Fprint(w, `{"version":"old"}`)
		case r.URL.Path == "/version":
			fmt.Fprint(w, `{"version":"new"}`)
		default:
			fmt.Fprint(w, "<p>fresh</p>")
		}
	}))
	if err := d.waitAnswer(t.Context(), dev, "new", "fresh"); err != nil {
		t.Fatal(err)
	}
	if asked.Load() < 5 {
		t.Errorf("satisfied after %d requests", asked.Load())
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, problem.ErrTimeout)
	defer cancel()
	if err := d.waitAnswer(ctx, dev, "newer", "fresh"); !errors.Is(err, problem.ErrTimeout) || !strings.Contains(err.Error(), "it is version new") {
		t.Errorf("error %v", err)
	}
}

func TestReadApplication(t *testing.T) {
	var o map[string]any
	if err := json.Unmarshal([]byte(`{"status":{
		"sync":{"status":"OutOfSync","revision":"b"},"health":{"status":"Progressing"},
		"operationState":{"phase":"Succeeded","message":"done","syncResult":{"revision":"a"}},
		"conditions":[{"type":"ComparisonError","message":"cannot render"}]}}`), &o); err != nil {
		t.Fatal(err)
	}
	want := application{Exists: true, Sync: "OutOfSync", Health: "Progressing", Revision: "b", Applied: "a", Message: "cannot render"}
	if d := cmp.Diff(want, readApplication(o)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if d := cmp.Diff(application{Exists: true}, readApplication(map[string]any{"status": "nonsense"})); d != "" {
		t.Errorf("nonsense (-want +got):\n%s", d)
	}
}
