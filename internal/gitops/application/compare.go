package application

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/gitops/compare"
	"github.com/penstock-dev/penstock/internal/gitops/live"
	"github.com/penstock-dev/penstock/internal/gitops/project"
	"github.com/penstock-dev/penstock/internal/gitops/render"
	"github.com/penstock-dev/penstock/internal/gitops/sync"
)

// comparison is what an Application consists of at one commit.
type comparison struct {
	revision   string
	sourceType string
	resources  []compare.Resource
	repeated   []string
}

// fault is why an Application cannot be compared: something about it, its
// project or its repository that trying again does not change.
type fault struct {
	condition string // type of the condition that says so
	message   string
}

func (f *fault) Error() string { return f.message }

// compareAt compares app, rendered from src at commit, with the cluster.
func (c *Controller) compareAt(ctx context.Context, app *v1alpha1.Application, p *v1alpha1.AppProject, src v1alpha1.Source, commit string) (*comparison, error) {
	rendered, err := c.renderer.Render(ctx, src, commit)
	if err != nil {
		return nil, sourceFault(err)
	}
	targets, repeated, err := compare.Targets(rendered.Objects, app.Name, app.Spec.Destination.Namespace, c.scope)
	if err != nil {
		return nil, c.targetFault(err)
	}
	if err := c.permitted(targets, p, app.Spec.Destination); err != nil {
		return nil, err
	}
	objects, err := c.snapshot(ctx, app, targets)
	if err != nil {
		return nil, err
	}
	cmp := &comparison{revision: commit, sourceType: rendered.Type, repeated: repeated, resources: compare.Match(app.Name, targets, objects)}
	c.mu.Lock()
	differ := c.stateOf(app.Name).differ
	c.mu.Unlock()
	return cmp, compare.Judge(ctx, cmp.resources, differ)
}

// sourceFault tells what is wrong with a repository or its files from what may
// pass.
func sourceFault(err error) error {
	var content *render.Error
	if errors.As(err, &content) || errors.Is(err, problem.ErrNotFound) || errors.Is(err, problem.ErrInvalid) {
		return &fault{v1alpha1.ConditionComparisonError, err.Error()}
	}
	return err
}

// targetFault tells mistakes in objects from an API server that does not
// answer.
func (c *Controller) targetFault(err error) error {
	var unknown *unknownScope
	if errors.As(err, &unknown) {
		return err
	}
	return &fault{v1alpha1.ConditionComparisonError, err.Error()}
}

type unknownScope struct{ error }

// scope says whether a kind is namespaced.
func (c *Controller) scope(gvk schema.GroupVersionKind) (namespaced, known bool, err error) {
	m, err := c.cluster.Mapping(gvk)
	switch {
	case meta.IsNoMatchError(err):
		return false, false, nil
	case err != nil:
		return false, false, &unknownScope{err}
	}
	return m.Scope.Name() == meta.RESTScopeNameNamespace, true, nil
}

// permitted checks kinds and namespaces of objects against the project.
func (c *Controller) permitted(targets []*unstructured.Unstructured, p *v1alpha1.AppProject, d v1alpha1.Destination) error {
	var bad []string
	for _, t := range targets {
		k := compare.KeyOf(t)
		namespaced, known, err := c.scope(t.GroupVersionKind())
		if err != nil {
			return err
		}
		switch {
		case !project.PermitsKind(p.Spec, k.GroupKind(), k.Name, namespaced || !known):
			bad = append(bad, fmt.Sprintf("%s: kind %s is not permitted in project %s", k, k.GroupKind(), p.Name))
		case k.Namespace != "" && !project.PermitsNamespace(p.Spec, whole(d), k.Namespace):
			bad = append(bad, fmt.Sprintf("%s: namespace %s is not permitted in project %s", k, k.Namespace, p.Name))
		}
	}
	if len(bad) > 0 {
		return &fault{v1alpha1.ConditionComparisonError, strings.Join(bad, "; ")}
	}
	return nil
}

// snapshot returns the live objects of app and those that targets name.
func (c *Controller) snapshot(ctx context.Context, app *v1alpha1.Application, targets []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	before := c.floors(app.Name)
	q := live.Query{App: app.Name, Floors: maps.Clone(before)}
	for _, t := range targets {
		q.Kinds = append(q.Kinds, t.GroupVersionKind())
		q.Keys = append(q.Keys, compare.KeyOf(t))
	}
	q.Kinds = append(q.Kinds, recordedKinds(app)...)
	objects, err := c.live.Snapshot(ctx, q)
	if err != nil {
		return nil, err
	}
	c.reached(app.Name, before, q.Floors)
	return objects, nil
}

// recordedKinds are the kinds that the Application is known to have objects
// of. They are in its status before the first object is written.
func recordedKinds(app *v1alpha1.Application) []schema.GroupVersionKind {
	var out []schema.GroupVersionKind
	for _, r := range app.Status.Resources {
		out = append(out, schema.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: r.Kind})
	}
	if op := app.Status.OperationState; op != nil && op.SyncResult != nil {
		for _, r := range op.SyncResult.Resources {
			out = append(out, schema.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: r.Kind})
		}
	}
	return out
}

func (c *Controller) floors(name string) map[compare.Key]live.Floor {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.stateOf(name).floors)
}

// reached drops the floors that were in before and are not left, unless they
// were raised meanwhile.
func (c *Controller) reached(name string, before, left map[compare.Key]live.Floor) {
	c.mu.Lock()
	defer c.mu.Unlock()
	floors := c.stateOf(name).floors
	for k, f := range before {
		if _, ok := left[k]; !ok && floors[k] == f {
			delete(floors, k)
		}
	}
}

// raise notes what a sync did, so that no later comparison looks at an older
// state.
func (c *Controller) raise(name string, written map[compare.Key]*unstructured.Unstructured, tasks []sync.Task, results map[compare.Key]sync.Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	floors := c.stateOf(name).floors
	for k, u := range written {
		floors[k] = live.Floor{Written: u}
	}
	for _, t := range tasks {
		if t.Prune() && results[t.Key].Status == v1alpha1.ResultPruned {
			floors[t.Key] = live.Floor{Deleted: t.Live.GetUID()}
		}
	}
}

// orphaned returns what lives of an Application that cannot be compared.
func (c *Controller) orphaned(ctx context.Context, app *v1alpha1.Application) ([]compare.Resource, error) {
	objects, err := c.snapshot(ctx, app, nil)
	if err != nil {
		return nil, err
	}
	resources := compare.Match(app.Name, nil, objects)
	for i := range resources {
		resources[i].Status = v1alpha1.SyncStatusUnknown
	}
	return resources, nil
}
