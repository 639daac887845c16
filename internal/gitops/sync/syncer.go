package sync

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/gitops/compare"
	"github.com/penstock-dev/penstock/internal/gitops/health"
	"github.com/penstock-dev/penstock/internal/host/cluster"
)

const (
	// parallel is how many objects are written at the same time.
	parallel = 8
	// definitionWait is how long a new kind may take to be served.
	definitionWait = 3 * time.Second
)

// Syncer writes the tasks of one operation. It remembers what the API server
// answered, because a watch may be behind it.
type Syncer struct {
	cluster *cluster.Cluster
	o       Options

	mu      sync.Mutex
	written map[compare.Key]*unstructured.Unstructured
}

// NewSyncer returns a syncer that has written nothing.
func NewSyncer(c *cluster.Cluster, o Options) *Syncer {
	return &Syncer{cluster: c, o: o, written: map[compare.Key]*unstructured.Unstructured{}}
}

// EnsureNamespace creates the namespace if the cluster does not have it.
func (s *Syncer) EnsureNamespace(ctx context.Context, name string) error {
	client, err := s.cluster.Resource(schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}, "")
	if err != nil {
		return err
	}
	if _, err := client.Get(ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		return err
	}
	ns := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace"}}
	ns.SetName(name)
	_, err = client.Create(ctx, ns, metav1.CreateOptions{FieldManager: cluster.FieldManager})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create namespace %s: %w", name, err)
	}
	return nil
}

// Check sends every task as a dry run and returns the results of those that
// the API server would refuse. Nothing is changed.
func (s *Syncer) Check(ctx context.Context, tasks []Task) (map[compare.Key]Result, error) {
	refused := map[compare.Key]Result{}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, t := range tasks {
		if t.Prune() || cannotCheck(t, tasks) {
			continue
		}
		g.Go(func() error {
			_, err := s.cluster.Apply(ctx, t.Target, cluster.ApplyOptions{DryRun: true, Lenient: t.Lenient})
			if err == nil || meta.IsNoMatchError(err) && s.o.SkipMissingKind {
				return nil
			}
			r, err := refusal(t, err)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			refused[t.Key] = r
			return nil
		})
	}
	return refused, g.Wait()
}

// cannotCheck says whether t needs what another task makes first: its kind or
// its namespace.
func cannotCheck(t Task, tasks []Task) bool {
	if o, _ := compare.OptionsOf(t.Target); o.SkipMissingKind {
		return true
	}
	for _, other := range tasks {
		if other.Live == nil && !other.Prune() && uses(t, other) {
			return true
		}
	}
	return false
}

// refusal turns an error about one object into a result; an error that says
// nothing about the object comes back.
func refusal(t Task, err error) (Result, error) {
	if meta.IsNoMatchError(err) {
		return Result{Status: v1alpha1.ResultSyncFailed, Phase: v1alpha1.PhaseFailed, Message: fmt.Sprintf("the cluster has no kind %s in %s/%s; is its CustomResourceDefinition installed?", t.Kind, t.Group, t.Version)}, nil
	}
	if cluster.Refusal(err) {
		return Result{Status: v1alpha1.ResultSyncFailed, Phase: v1alpha1.PhaseFailed, Message: compare.Refused(err, compare.IsSecret(t.Key))}, nil
	}
	return Result{}, fmt.Errorf("apply %s: %w", t.Key, err)
}

// Run runs the tasks of one wave: deletions first, then kind after kind. It
// stops after the kind in which something was refused. An error means that it
// could not go on; the results so far are returned with it.
func (s *Syncer) Run(ctx context.Context, tasks []Task) (map[compare.Key]Result, error) {
	results := map[compare.Key]Result{}
	for len(tasks) > 0 {
		n := 1
		for n < len(tasks) && tasks[n].Prune() == tasks[0].Prune() && (tasks[0].Prune() || tasks[n].Kind == tasks[0].Kind) {
			n++
		}
		bad, err := s.runGroup(ctx, tasks[:n], results)
		if err != nil || bad {
			return results, err
		}
		tasks = tasks[n:]
	}
	return results, nil
}

func (s *Syncer) runGroup(ctx context.Context, group []Task, results map[compare.Key]Result) (bad bool, err error) {
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, t := range group {
		g.Go(func() error {
			r, err := s.one(gctx, t)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			results[t.Key] = r
			bad = bad || r.Status == v1alpha1.ResultSyncFailed
			return nil
		})
	}
	err = g.Wait()
	if _, _, ok := defines(group[0]); ok && err == nil && !bad {
		s.cluster.Rediscover()
	}
	return bad, err
}

func (s *Syncer) one(ctx context.Context, t Task) (Result, error) {
	switch {
	case t.Skip != "":
		return Result{Status: v1alpha1.ResultPruneSkipped, Phase: v1alpha1.PhaseSucceeded, Message: t.Skip}, nil
	case t.Prune():
		return s.prune(ctx, t)
	}
	return s.apply(ctx, t)
}

func (s *Syncer) apply(ctx context.Context, t Task) (Result, error) {
	live, err := s.cluster.Apply(ctx, t.Target, cluster.ApplyOptions{Lenient: t.Lenient})
	if err != nil {
		return refusal(t, err)
	}
	s.mu.Lock()
	s.written[t.Key] = live
	s.mu.Unlock()
	if _, _, ok := defines(t); ok {
		if err := s.established(ctx, live); err != nil {
			return Result{Status: v1alpha1.ResultSyncFailed, Phase: v1alpha1.PhaseFailed, Message: err.Error()}, nil
		}
	}
	r := Result{Status: v1alpha1.ResultSynced, Phase: v1alpha1.PhaseRunning, Message: "configured"}
	switch {
	case t.Live == nil || t.Live.GetUID() != live.GetUID():
		r.Message = "created"
	case t.Live.GetResourceVersion() == live.GetResourceVersion():
		r.Message = "unchanged"
	}
	if _, has := health.Of(live); !has {
		r.Phase = v1alpha1.PhaseSucceeded
	}
	return r, nil
}

func (s *Syncer) established(ctx context.Context, crd *unstructured.Unstructured) error {
	ctx, cancel := context.WithTimeout(ctx, definitionWait)
	defer cancel()
	return s.cluster.WaitEstablished(ctx, crd)
}

func (s *Syncer) prune(ctx context.Context, t Task) (Result, error) {
	client, err := s.cluster.Client(t.Live)
	if meta.IsNoMatchError(err) {
		return Result{Status: v1alpha1.ResultPruned, Phase: v1alpha1.PhaseSucceeded, Message: "pruned: its kind is gone"}, nil
	}
	if err != nil {
		return Result{}, fmt.Errorf("delete %s: %w", t.Key, err)
	}
	uid := t.Live.GetUID()
	err = client.Delete(ctx, t.Name, metav1.DeleteOptions{
		PropagationPolicy: &s.o.Propagation,
		// An object of the same name that somebody made since is not ours.
		Preconditions: &metav1.Preconditions{UID: &uid},
	})
	switch {
	case err == nil, apierrors.IsNotFound(err), apierrors.IsConflict(err):
		return Result{Status: v1alpha1.ResultPruned, Phase: v1alpha1.PhaseRunning, Message: "pruned"}, nil
	case cluster.Refusal(err):
		return Result{Status: v1alpha1.ResultSyncFailed, Phase: v1alpha1.PhaseFailed, Message: "delete: " + compare.Refused(err, compare.IsSecret(t.Key))}, nil
	}
	return Result{}, fmt.Errorf("delete %s: %w", t.Key, err)
}

// See returns how the object stands: as watched, or as it was written if the
// watch has not seen that yet.
func (s *Syncer) See(k compare.Key, watched *unstructured.Unstructured) Seen {
	s.mu.Lock()
	written := s.written[k]
	s.mu.Unlock()
	u := watched
	if written != nil && (u == nil || older(u, written)) {
		u = written
	}
	if u == nil {
		return Seen{}
	}
	h, _ := health.Of(u)
	return Seen{Exists: true, Health: h}
}

// older compares two states of one object. The API server promises that
// resource versions of one kind can be compared as numbers.
func older(a, b *unstructured.Unstructured) bool {
	x, err1 := strconv.ParseUint(a.GetResourceVersion(), 10, 64)
	y, err2 := strconv.ParseUint(b.GetResourceVersion(), 10, 64)
	return err1 == nil && err2 == nil && x < y
}
