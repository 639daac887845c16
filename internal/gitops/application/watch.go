package application

import (
	"context"
	"fmt"
	"reflect"
	stdsync "sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/gitops/compare"
	"github.com/penstock-dev/penstock/internal/gitops/live"
	"github.com/penstock-dev/penstock/internal/gitops/sync"
)

// level says how thorough a refresh has to be; the highest that was asked for
// counts.
type level int

const (
	levelNone   level = iota // only what the Application itself asks for
	levelRecent              // a managed object changed: the same revision again
	levelLatest              // what the repository says now
	levelHard                // that, without trusting anything known
)

// state is what the controller keeps in memory about one Application. It may
// be lost at any time.
type state struct {
	asked  level
	differ *compare.ServerDiffer
	floors map[compare.Key]live.Floor
	syncer *sync.Syncer // of the operation under way
	syncOf string       // which one that is

	recorded recorded // of its history in the event log

	// turn is held by a turn of an operation and by a deletion: what is being
	// deleted must not be written.
	turn *stdsync.Mutex
}

// stateOf returns the state of an Application; call it with mu.
func (c *Controller) stateOf(name string) *state {
	s, ok := c.state[name]
	if !ok {
		s = &state{differ: compare.NewServerDiffer(c.cluster), floors: map[compare.Key]live.Floor{}, turn: &stdsync.Mutex{}}
		c.state[name] = s
	}
	return s
}

// ask asks for a refresh.
func (c *Controller) ask(name string, l level) {
	c.mu.Lock()
	s := c.stateOf(name)
	s.asked = max(s.asked, l)
	c.mu.Unlock()
	c.refreshes.Add(name)
}

// askAfter asks for a refresh later.
func (c *Controller) askAfter(name string, d time.Duration) { c.refreshes.AddAfter(name, d) }

// take returns what was asked for, which is then done.
func (c *Controller) take(name string) level {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stateOf(name)
	l := s.asked
	s.asked = levelNone
	return l
}

func (c *Controller) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.state, name)
}

// turnOf returns the lock of an Application's objects.
func (c *Controller) turnOf(name string) *stdsync.Mutex {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stateOf(name).turn
}

// watchApplications starts the watches of Applications and projects and waits
// for their first lists.
func (c *Controller) watchApplications(ctx context.Context, wg *stdsync.WaitGroup) error {
	var only dynamicinformer.TweakListOptionsFunc
	if c.foreign {
		only = func(o *metav1.ListOptions) { o.LabelSelector = LabelManaged + "=true" }
	}
	c.apps = dynamicinformer.NewFilteredDynamicInformer(c.cluster.Dynamic, v1alpha1.Applications, c.o.Namespace, 0, cache.Indexers{}, only).Informer()
	c.projects = dynamicinformer.NewFilteredDynamicInformer(c.cluster.Dynamic, v1alpha1.AppProjects, c.o.Namespace, 0, cache.Indexers{}, nil).Informer()
	if _, err := c.apps.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { c.applicationChanged(nil, o) },
		UpdateFunc: c.applicationChanged,
		DeleteFunc: func(o any) { c.applicationGone(o) },
	}); err != nil {
		return err
	}
	if _, err := c.projects.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { c.projectChanged(nil, o) },
		UpdateFunc: c.projectChanged,
		DeleteFunc: func(o any) { c.projectChanged(nil, o) },
	}); err != nil {
		return err
	}
	wg.Go(func() { c.projects.RunWithContext(ctx) })
	if !cache.WaitForCacheSync(ctx.Done(), c.projects.HasSynced) {
		return fmt.Errorf("list projects: %w", ctx.Err())
	}
	wg.Go(func() { c.apps.RunWithContext(ctx) })
	if !cache.WaitForCacheSync(ctx.Done(), c.apps.HasSynced) {
		return fmt.Errorf("list applications: %w", ctx.Err())
	}
	return nil
}

// applicationChanged looks at what changed: our own writes of status must not
// wake us.
func (c *Controller) applicationChanged(old, o any) {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return
	}
	before, _ := old.(*unstructured.Unstructured)
	switch {
	case before == nil: // new, or we are: what was pushed meanwhile is not known
		c.ask(u.GetName(), levelLatest)
	case wants(before, u):
		c.ask(u.GetName(), levelRecent)
	}
	if u.Object["operation"] != nil {
		c.operations.Add(u.GetName())
	}
}

// wants says whether the change from before to after may need a refresh.
func wants(before, after *unstructured.Unstructured) bool {
	return !reflect.DeepEqual(before.Object["spec"], after.Object["spec"]) ||
		after.GetAnnotations()[v1alpha1.AnnotationRefresh] != "" ||
		after.GetDeletionTimestamp() != nil ||
		before.GetUID() != after.GetUID()
}

func (c *Controller) applicationGone(o any) {
	if t, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = t.Obj
	}
	if u, ok := o.(metav1.Object); ok {
		c.forget(u.GetName())
	}
}

// projectChanged refreshes the Applications of a project.
func (c *Controller) projectChanged(old, o any) {
	if t, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = t.Obj
	}
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return
	}
	if before, ok := old.(*unstructured.Unstructured); ok && reflect.DeepEqual(before.Object["spec"], u.Object["spec"]) {
		return
	}
	for _, o := range c.apps.GetStore().List() {
		app, ok := o.(*unstructured.Unstructured)
		if !ok {
			continue
		}
		if name, _, _ := unstructured.NestedString(app.Object, "spec", "project"); name == u.GetName() {
			c.ask(app.GetName(), levelLatest)
		}
	}
}
