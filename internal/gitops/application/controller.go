// Package application reconciles Argo CD Applications: it compares what a
// repository says with what the cluster has, writes the difference into the
// Application's status, and syncs when asked or told to.
//
// An Application has two queues, as in Argo CD: refresh (compare, then perhaps
// ask for a sync) and operation (carry out what was asked for). What happened
// is in the Application's status before and after every step, so a restart
// goes on where the last process was.
package application

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/gitops/live"
	"github.com/penstock-dev/penstock/internal/gitops/render"
	"github.com/penstock-dev/penstock/internal/gitops/source"
	"github.com/penstock-dev/penstock/internal/host/cluster"
)

// Options configures a [Controller].
type Options struct {
	// Kubeconfig is the file of the cluster; it may appear later. Empty means
	// the pod's own account.
	Kubeconfig string
	// Dir is for checkouts, and is emptied at the start.
	Dir string
	// Host is our Git server; required.
	Host source.Host
	// Pushes tells of pushes to it; nil means that only the resync sees them.
	Pushes <-chan event.Push
	// Events gets what was deployed and removed; nil for nobody.
	Events Recorder
	// Namespace holds the Applications; default "argocd".
	Namespace string
	// IngressPort is where an Ingress without TLS answers, for the links in
	// status; 0 means the standard port.
	IngressPort int
	// RenderProgram starts a render worker; default this program.
	RenderProgram []string
	// Resync is how long a comparison is good for without a reason to repeat
	// it; default 2 minutes and up to half as much again.
	Resync time.Duration
	// QueueMetrics tells about the two queues; may be nil.
	QueueMetrics workqueue.MetricsProvider
	// Synced is told of operations that ended, after that is recorded; may be
	// nil. It must not wait.
	Synced func(app *v1alpha1.Application, state v1alpha1.OperationState)
	Now    func() time.Time // default time.Now
	Log    *slog.Logger     // default discards
}

// Workers of the two queues.
const (
	refreshWorkers   = 16
	operationWorkers = 8
)

// Controller reconciles Applications.
type Controller struct {
	o   Options
	log *slog.Logger
	now func() time.Time

	ready atomic.Bool

	foreign   bool // the kinds are somebody else's: only labelled Applications are ours
	cluster   *cluster.Cluster
	live      *live.Cache
	checkouts *source.Checkouts
	renderer  *render.Renderer
	apps      cache.SharedIndexInformer
	projects  cache.SharedIndexInformer

	refreshes  workqueue.TypedRateLimitingInterface[string]
	operations workqueue.TypedRateLimitingInterface[string]

	mu    sync.Mutex
	state map[string]*state
}

// New returns a controller that does nothing yet.
func New(o Options) (*Controller, error) {
	if o.Host == nil || o.Dir == "" {
		return nil, errors.New("the application controller needs a Git host and a directory")
	}
	if o.Namespace == "" {
		o.Namespace = "argocd"
	}
	if o.Resync <= 0 {
		o.Resync = 2 * time.Minute
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Controller{o: o, log: o.Log, now: o.Now, state: map[string]*state{}}, nil
}

// Ready says why the controller does not reconcile yet.
func (c *Controller) Ready() error {
	if !c.ready.Load() {
		return errors.New("waiting for the cluster")
	}
	return nil
}

// Run reconciles until ctx is done. It waits for the cluster first, for as
// long as that takes.
func (c *Controller) Run(ctx context.Context) error {
	var err error
	if c.foreign, err = c.prepare(ctx); err != nil {
		return ignoreEnd(ctx, err)
	}
	if c.checkouts, err = source.NewCheckouts(filepath.Join(c.o.Dir, "checkouts"), source.Hosted{Host: c.o.Host}, 64, c.log); err != nil {
		return err
	}
	pool, err := render.NewPool(render.PoolOptions{Base: c.checkouts.Base(), Program: c.o.RenderProgram, Log: c.log})
	if err != nil {
		return err
	}
	defer pool.Close()
	c.renderer = render.NewRenderer(c.checkouts, pool, 2048)

	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	c.live = live.New(ctx, c.cluster, c.liveChanged, c.log)
	c.refreshes = c.newQueue("refresh")
	c.operations = c.newQueue("operation")
	// Stopped in this order: no more events, then no more work, then the
	// watches that the work started.
	defer c.live.Wait()
	defer wg.Wait()
	defer c.operations.ShutDown()
	defer c.refreshes.ShutDown()
	defer cancel()
	if err := c.watchApplications(ctx, &wg); err != nil {
		return ignoreEnd(ctx, err)
	}
	for range refreshWorkers {
		wg.Go(func() { work(ctx, c.refreshes, c.refresh, c.log) })
	}
	for range operationWorkers {
		wg.Go(func() { work(ctx, c.operations, c.operate, c.log) })
	}
	c.ready.Store(true)
	defer c.ready.Store(false)
	c.log.Info("reconciling applications", "namespace", c.o.Namespace)
	c.followPushes(ctx)
	return nil
}

// ignoreEnd drops an error that only says that ctx has ended.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// prepare connects to the cluster and installs what is needed there, and tries
// again for as long as that takes.
func (c *Controller) prepare(ctx context.Context) (foreign bool, err error) {
	for {
		if err := c.connect(ctx); err != nil {
			return false, err
		}
		foreign, err := c.install(ctx)
		if err == nil {
			return foreign, nil
		}
		c.log.Warn("install the Argo kinds, trying again", "error", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// connect waits for the kubeconfig and for an API server that is ready.
func (c *Controller) connect(ctx context.Context) error {
	for {
		config, err := cluster.Config(c.o.Kubeconfig)
		if err == nil {
			if c.cluster, err = cluster.New(config); err != nil {
				return err
			}
			wait, cancel := context.WithTimeout(ctx, 10*time.Second)
			err = c.cluster.WaitReady(wait)
			cancel()
			if err == nil {
				return nil
			}
		}
		c.log.Debug("cluster is not ready", "error", err)
		select {
		case <-time.After(c.retryConnect(err)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// retryConnect says how soon to look again: soon for a file that the node is
// about to write.
func (c *Controller) retryConnect(err error) time.Duration {
	if _, statErr := os.Stat(c.o.Kubeconfig); errors.Is(statErr, fs.ErrNotExist) {
		return 200 * time.Millisecond
	}
	if err != nil {
		return time.Second
	}
	return 200 * time.Millisecond
}

func (c *Controller) newQueue(name string) workqueue.TypedRateLimitingInterface[string] {
	return workqueue.NewTypedRateLimitingQueueWithConfig(
		workqueue.NewTypedItemExponentialFailureRateLimiter[string](500*time.Millisecond, 2*time.Minute),
		workqueue.TypedRateLimitingQueueConfig[string]{Name: name, MetricsProvider: c.o.QueueMetrics})
}

// work takes names from q until it is shut down. An error puts the name back,
// later each time.
func work(ctx context.Context, q workqueue.TypedRateLimitingInterface[string], do func(context.Context, string) error, log *slog.Logger) {
	for {
		name, done := q.Get()
		if done {
			return
		}
		err := do(ctx, name)
		switch {
		case err == nil:
			q.Forget(name)
		case ctx.Err() == nil:
			log.Warn("reconcile application, trying again", "application", name, "error", err)
			q.AddRateLimited(name)
		}
		q.Done(name)
	}
}

// resyncAfter spreads the resyncs of many Applications.
func (c *Controller) resyncAfter() time.Duration {
	jitter := rand.Int64N(int64(c.o.Resync/2) + 1) //nolint:gosec // it spreads load and keeps no secret
	return c.o.Resync + time.Duration(jitter)
}

// liveChanged is called for every change of a managed object.
func (c *Controller) liveChanged(app string) {
	c.ask(app, levelRecent)
	if o, ok, err := c.apps.GetStore().GetByKey(c.o.Namespace + "/" + app); err == nil && ok {
		if u, ok := o.(*unstructured.Unstructured); ok && u.Object["operation"] != nil {
			c.operations.Add(app)
		}
	}
}

// followPushes refreshes the Applications of a repository that was pushed to,
// until ctx is done.
func (c *Controller) followPushes(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-c.o.Pushes:
			// A full channel has dropped pushes: then every Application may
			// have one.
			full := len(c.o.Pushes) > 0 && len(c.o.Pushes) == cap(c.o.Pushes)
			c.pushed(p, full)
		}
	}
}

func (c *Controller) pushed(p event.Push, everything bool) {
	for _, o := range c.apps.GetStore().List() {
		u, ok := o.(*unstructured.Unstructured)
		if !ok {
			continue
		}
		url, _, _ := unstructured.NestedString(u.Object, "spec", "source", "repoURL")
		revision, _, _ := unstructured.NestedString(u.Object, "spec", "source", "targetRevision")
		repo, hosted := c.o.Host.Hosted(url)
		if hosted && (everything || repo == p.Repo && concerns(p, revision)) {
			c.ask(u.GetName(), levelLatest)
		}
	}
}

// concerns says whether a push may change what revision names.
func concerns(p event.Push, revision string) bool {
	if revision == "" || revision == "HEAD" {
		return true // the branch that HEAD means may be any
	}
	for _, u := range p.Updates {
		if u.Ref == revision || u.Ref == "refs/heads/"+revision || u.Ref == "refs/tags/"+revision {
			return true
		}
	}
	return false
}
