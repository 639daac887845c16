package app

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/base/bus"
	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/ci/runs"
	"github.com/penstock-dev/penstock/internal/face/traces"
	"github.com/penstock-dev/penstock/internal/host/git"
	"github.com/penstock-dev/penstock/internal/host/observe"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// ownWork tells about the server's own work: metrics of what the rooms say has
// happened, and the wake-up of the traces. Make it with newOwnWork.
type ownWork struct {
	topics topics
	ci     interface {
		Get(ctx context.Context, id int64) (runs.Run, error)
		Counts(ctx context.Context) (runs.Counts, error)
	}
	log *slog.Logger

	pushed   *prometheus.CounterVec
	refs     prometheus.Counter
	runs     *prometheus.CounterVec
	runTime  *prometheus.HistogramVec
	waitTime prometheus.Histogram
	syncs    *prometheus.CounterVec
	syncTime *prometheus.HistogramVec

	wake chan struct{}      // for the traces
	sync chan traces.Synced // nil when traces are not wanted
}

// topics are what the rooms announce.
type topics struct {
	pushes   *bus.Topic[event.Push]
	finished *bus.Topic[event.RunFinished]
}

// longBuckets are for what takes seconds to minutes.
var longBuckets = []float64{.1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600}

func newOwnWork(o *observe.Observer, t topics, log *slog.Logger) *ownWork {
	w := &ownWork{
		topics: t, log: log,
		pushed:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "penstock_git_pushes_total", Help: "Pushes that changed refs, by who pushed: a user or a CI job."}, []string{"by"}),
		refs:     prometheus.NewCounter(prometheus.CounterOpts{Name: "penstock_git_refs_changed_total", Help: "Refs that pushes changed."}),
		runs:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "penstock_ci_runs_finished_total", Help: "CI runs that ended, by conclusion."}, []string{"conclusion"}),
		runTime:  prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "penstock_ci_run_duration_seconds", Help: "Time from the start of a run's first job to its end, by conclusion.", Buckets: longBuckets}, []string{"conclusion"}),
		waitTime: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "penstock_ci_run_wait_seconds", Help: "Time from the push of a run to the start of its first job.", Buckets: buckets()}),
		syncs:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "penstock_gitops_syncs_total", Help: "Syncs that ended, by phase."}, []string{"phase"}),
		syncTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "penstock_gitops_sync_duration_seconds", Help: "Time that a sync took, by phase.", Buckets: longBuckets}, []string{"phase"}),
		wake:     make(chan struct{}, 1),
	}
	o.Registry().MustRegister(w.pushed, w.refs, w.runs, w.runTime, w.waitTime, w.syncs, w.syncTime)
	if o.Tracing() {
		w.sync = make(chan traces.Synced, 256)
	}
	return w
}

func buckets() []float64 { return []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300} }

// watch adds what the CI room has going on.
func (w *ownWork) watch(o *observe.Observer, ci *runs.Service) error {
	w.ci = ci
	if err := o.Registry().Register(w); err != nil {
		return fmt.Errorf("register metrics of CI: %w", err)
	}
	return nil
}

// rooms are what tells about the others.
func (w *ownWork) rooms(o *observe.Observer, db *store.DB) []room {
	out := []room{{name: "observe", run: w.run}}
	if o.Tracing() {
		teller := traces.New(traces.Options{DB: db, Runs: w.ci, Receiver: o, Wake: w.wake, Log: w.log})
		out = append(out, room{name: "traces", run: teller.Run}, room{name: "traces of syncs", run: func(ctx context.Context) error { return w.tellSyncs(ctx, o) }})
	}
	return out
}

// run counts what is announced until ctx ends.
func (w *ownWork) run(ctx context.Context) error {
	const buffer = 256
	pushes, finished := w.topics.pushes.Subscribe(buffer), w.topics.finished.Subscribe(buffer)
	defer pushes.Close()
	defer finished.Close()
	for {
		select {
		case <-ctx.Done():
			return nil
		case p := <-pushes.C:
			by := "user"
			if strings.HasPrefix(p.Actor, "run/") { // identity.Job's name
				by = "job"
			}
			w.pushed.WithLabelValues(by).Inc()
			w.refs.Add(float64(len(p.Updates)))
		case f := <-finished.C:
			w.ended(ctx, f)
		}
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

func (w *ownWork) ended(ctx context.Context, f event.RunFinished) {
	w.runs.WithLabelValues(f.Conclusion).Inc()
	run, err := w.ci.Get(ctx, f.RunID)
	if err != nil {
		w.log.Debug("run that ended is not timed", "run", f.RunID, "error", err)
		return
	}
	if !run.StartedAt.IsZero() && run.StartedAt.Before(run.FinishedAt) {
		w.runTime.WithLabelValues(f.Conclusion).Observe(run.FinishedAt.Sub(run.StartedAt).Seconds())
		w.waitTime.Observe(run.StartedAt.Sub(run.CreatedAt).Seconds())
	}
}

// synced returns what the application controller calls with each sync that
// ended.
func (w *ownWork) synced(host *git.Server) func(*v1alpha1.Application, v1alpha1.OperationState) {
	return func(app *v1alpha1.Application, state v1alpha1.OperationState) {
		s := traces.Synced{UID: string(app.UID), Application: app.Namespace + "/" + app.Name, Phase: state.Phase, Message: state.Message, Began: state.StartedAt.Time}
		if state.FinishedAt != nil {
			s.Ended = state.FinishedAt.Time
		}
		w.syncs.WithLabelValues(state.Phase).Inc()
		w.syncTime.WithLabelValues(state.Phase).Observe(max(0, s.Ended.Sub(s.Began).Seconds()))
		if w.sync == nil || state.SyncResult == nil {
			return
		}
		if app.Spec.Source != nil {
			s.Repo, _ = host.Hosted(app.Spec.Source.RepoURL)
			s.Commit = state.SyncResult.Revision
		}
		select {
		case w.sync <- s:
		default:
			w.log.Warn("a sync is missing in the traces: their receiver is too slow", "application", s.Application)
		}
	}
}

// tellSyncs sends the traces of syncs until ctx ends.
func (w *ownWork) tellSyncs(ctx context.Context, o *observe.Observer) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case s := <-w.sync:
			sctx, cancel := context.WithTimeout(ctx, 15*time.Second)
			if err := o.Send(sctx, []observe.Span{s.Span()}); err != nil && ctx.Err() == nil {
				w.log.Warn("a sync is missing in the traces", "application", s.Application, "error", err)
			}
			cancel()
		}
	}
}

// Describe implements prometheus.Collector.
func (w *ownWork) Describe(c chan<- *prometheus.Desc) { prometheus.DescribeByCollect(w, c) }

var (
	runsDesc = prometheus.NewDesc("penstock_ci_runs", "CI runs that are not over, by status.", []string{"status"}, nil)
	jobsDesc = prometheus.NewDesc("penstock_ci_jobs", "CI jobs that are not over, by status; those that wait are the queue.", []string{"status"}, nil)
)

// Collect reads what is going on from the store.
func (w *ownWork) Collect(c chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	n, err := w.ci.Counts(ctx)
	if err != nil {
		c <- prometheus.NewInvalidMetric(runsDesc, err)
		return
	}
	gauge := func(d *prometheus.Desc, v int64, status string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), status)
	}
	gauge(runsDesc, n.QueuedRuns, "queued")
	gauge(runsDesc, n.RunningRuns, "in_progress")
	gauge(jobsDesc, n.QueuedJobs, "queued")
	gauge(jobsDesc, n.RunningJobs, "in_progress")
}

// routeOf names the routes that do not name themselves (observe.SetRoute):
// those of git, the pages, and what is nowhere.
func routeOf(r *http.Request) string {
	p := r.URL.Path
	switch {
	case strings.HasPrefix(p, "/git/"):
		for _, end := range []string{"/info/refs", "/git-upload-pack", "/git-receive-pack"} {
			if strings.HasSuffix(p, end) {
				return "/git/{owner}/{name}" + end
			}
		}
		return "/git/"
	case strings.HasPrefix(p, "/assets/"):
		return "/assets/"
	case strings.HasPrefix(p, "/v2"):
		return "/v2/"
	case p == "/livez", p == "/readyz", p == "/metrics", p == "/version":
		return p
	case strings.HasPrefix(p, "/api/"):
		return "/api/"
	}
	return "/"
}
