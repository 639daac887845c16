package sync

import (
	"context"
	"fmt"
	"maps"
	"slices"
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

// Check returns the results of those tasks that the API server would refuse.
// Objects that exist were compared by dry run already; new ones are sent as a
// dry run now. Nothing is changed.
func (s *Syncer) Check(ctx context.Context, tasks []Task) (map[compare.Key]Result, error) {
	refused := map[compare.Key]Result{}
	var mu sync.Mutex
	var first []Task // what others need and is not there yet
	for _, t := range tasks {
		if !t.Prune() && t.Live == nil && provides(t) {
			first = append(first, t)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, t := range tasks {
		if t.Refused != "" {
			mu.Lock()
			refused[t.Key] = Result{Status: v1alpha1.ResultSyncFailed, Phase: v1alpha1.PhaseFailed, Message: t.Refused}
			mu.Unlock()
			continue
		}
		if t.Prune() || t.Live != nil || cannotCheck(t, first) {
			continue
		}
		g.Go(func() error {
			_, err := s.cluster.Apply(ctx, t.Target, cluster.ApplyOptions{DryRun: true, Lenient: t.Lenient})
			if err == nil || meta.IsNoMatchError(err) && (s.o.SkipMissingKind || skipsMissingKind(t)) {
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
func cannotCheck(t Task, first []Task) bool {
	return slices.ContainsFunc(first, func(f Task) bool { return uses(t, f) })
}

func skipsMissingKind(t Task) bool {
	o, _ := compare.OptionsOf(t.Target)
	return o.SkipMissingKind
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
	return Result{}, fmt.Errorf("apply %s: %w", t.Key, compare.Quiet(err, compare.IsSecret(t.Key)))
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
			return Result{Status: v1alpha1.ResultSyncFailed, Phase: v1alpha1.PhaseFailed, Message: err.Error()}, nil //nolint:nilerr // the result says it
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

// Look returns how the objects of running tasks stand. watched is what the
// watches have; where they are behind what was written, or have nothing, the
// API server is asked.
func (s *Syncer) Look(ctx context.Context, tasks []Task, results map[compare.Key]Result, watched map[compare.Key]*unstructured.Unstructured) (map[compare.Key]Seen, error) {
	seen := map[compare.Key]Seen{}
	for _, t := range tasks {
		if results[t.Key].Phase != v1alpha1.PhaseRunning {
			continue
		}
		u := watched[t.Key]
		if t.Prune() || u == nil || s.behind(u) {
			var err error
			if u, err = s.read(ctx, t); err != nil {
				return nil, err
			}
		}
		if u == nil || t.Prune() && u.GetUID() != t.Live.GetUID() {
			seen[t.Key] = Seen{}
			continue
		}
		h, _ := health.Of(u)
		seen[t.Key] = Seen{Exists: true, Health: h}
	}
	return seen, nil
}

func (s *Syncer) read(ctx context.Context, t Task) (*unstructured.Unstructured, error) {
	of := t.Target
	if of == nil {
		of = t.Live
	}
	client, err := s.cluster.Client(of)
	if meta.IsNoMatchError(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	u, err := client.Get(ctx, t.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", t.Key, err)
	}
	return u, nil
}

// behind says whether u is from before we wrote it.
func (s *Syncer) behind(u *unstructured.Unstructured) bool {
	s.mu.Lock()
	written := s.written[compare.KeyOf(u)]
	s.mu.Unlock()
	return written != nil && cluster.Older(u, written)
}

// Written returns the objects that were written, as the API server answered.
func (s *Syncer) Written() map[compare.Key]*unstructured.Unstructured {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.written)
}
