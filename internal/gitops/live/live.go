// Package live keeps what the cluster has of the kinds that Applications use,
// by watching them, and says which Application a change concerns.
//
// Objects that no Application owns are kept as names only: they matter when a
// repository starts to describe them, and are then read from the API server.
package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/gitops/compare"
	"github.com/penstock-dev/penstock/internal/host/cluster"
)

// byApp is the index of objects by the Application that owns them.
const byApp = "app"

// Cache watches kinds. Changed is called for every change of an object that an
// Application owns or owned; it must not block.
type Cache struct {
	cluster *cluster.Cluster
	changed func(app string)
	log     *slog.Logger

	// spawn runs a watch until it is stopped or the cache ends.
	spawn func(run func(context.Context)) (stop context.CancelFunc)
	wg    sync.WaitGroup

	mu   sync.Mutex
	kind map[schema.GroupVersionKind]*watch
}

type watch struct {
	informer cache.SharedIndexInformer
	stop     context.CancelFunc
}

// New returns a cache that watches nothing yet. Its watches end with ctx;
// Wait waits for that.
func New(ctx context.Context, c *cluster.Cluster, changed func(app string), log *slog.Logger) *Cache {
	l := &Cache{cluster: c, changed: changed, log: log, kind: map[schema.GroupVersionKind]*watch{}}
	l.spawn = func(run func(context.Context)) context.CancelFunc {
		ctx, stop := context.WithCancel(ctx)
		l.wg.Go(func() { run(ctx) })
		return stop
	}
	return l
}

// Wait waits until every watch has ended, after the context of New has.
func (c *Cache) Wait() { c.wg.Wait() }

// Floor is what a snapshot must have seen of an object at least, because we did
// it ourselves: that it was written, or that it was deleted.
type Floor struct {
	Written *unstructured.Unstructured // as the API server answered
	Deleted types.UID
}

// reached says whether u, nil for none, is at least what f asks.
func (f Floor) reached(u *unstructured.Unstructured) bool {
	switch {
	case f.Deleted != "":
		return u == nil || u.GetUID() != f.Deleted || u.GetDeletionTimestamp() != nil
	case u == nil:
		return false
	}
	return !cluster.Older(u, f.Written)
}

// Query asks for the objects of one Application.
type Query struct {
	App   string
	Kinds []schema.GroupVersionKind // those that the cluster does not have are skipped
	Keys  []compare.Key             // further objects, whoever owns them
	// Floors of objects; those that the watches have reached are removed.
	Floors map[compare.Key]Floor
}

// Snapshot returns the live objects that belong to the Application or have one
// of the keys.
func (c *Cache) Snapshot(ctx context.Context, q Query) ([]*unstructured.Unstructured, error) {
	watches := map[schema.GroupKind]*watch{}
	versions := map[schema.GroupKind]schema.GroupVersionKind{}
	for _, gvk := range q.Kinds {
		if _, ok := watches[gvk.GroupKind()]; ok {
			continue // one version of a kind is enough
		}
		w, err := c.watch(gvk)
		if meta.IsNoMatchError(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		watches[gvk.GroupKind()], versions[gvk.GroupKind()] = w, gvk
	}
	found := map[compare.Key]*unstructured.Unstructured{}
	for gk, w := range watches {
		if err := w.synced(ctx); err != nil {
			return nil, fmt.Errorf("watch %s: %w", gk, err)
		}
		owned, err := w.informer.GetIndexer().ByIndex(byApp, q.App)
		if err != nil {
			return nil, err
		}
		for _, o := range owned {
			u := o.(*unstructured.Unstructured)
			found[compare.KeyOf(u)] = u
		}
	}
	for _, k := range q.Keys {
		w, ok := watches[k.GroupKind()]
		if _, have := found[k]; have || !ok {
			continue
		}
		u, err := c.get(ctx, w, versions[k.GroupKind()], k)
		if err != nil {
			return nil, err
		}
		if u != nil {
			found[k] = u
		}
	}
	for k, floor := range q.Floors {
		if floor.reached(found[k]) {
			delete(q.Floors, k)
			continue
		}
		gvk, ok := versions[k.GroupKind()]
		if !ok {
			continue
		}
		u, err := c.read(ctx, gvk, k)
		if err != nil {
			return nil, err
		}
		if found[k] = u; u == nil {
			delete(found, k)
			delete(q.Floors, k) // somebody deleted it since
		}
	}
	return slices.Collect(maps.Values(found)), nil
}

// get returns the object with key k or nil. One that was kept as a name only
// is read.
func (c *Cache) get(ctx context.Context, w *watch, gvk schema.GroupVersionKind, k compare.Key) (*unstructured.Unstructured, error) {
	name := k.Name
	if k.Namespace != "" {
		name = k.Namespace + "/" + k.Name
	}
	o, ok, err := w.informer.GetIndexer().GetByKey(name)
	if err != nil || !ok {
		return nil, err
	}
	u := o.(*unstructured.Unstructured)
	if compare.Owner(u) != "" {
		return u, nil
	}
	return c.read(ctx, gvk, k)
}

// read asks the API server for an object; nil: it has none.
func (c *Cache) read(ctx context.Context, gvk schema.GroupVersionKind, k compare.Key) (*unstructured.Unstructured, error) {
	client, err := c.cluster.Resource(gvk, k.Namespace)
	if err != nil {
		return nil, err
	}
	u, err := client.Get(ctx, k.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", k, err)
	}
	return u, nil
}

// watch returns the watch of a kind and starts it if need be.
func (c *Cache) watch(gvk schema.GroupVersionKind) (*watch, error) {
	c.mu.Lock()
	w, ok := c.kind[gvk]
	c.mu.Unlock()
	if ok {
		return w, nil
	}
	mapping, err := c.cluster.Mapping(gvk)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if w, ok := c.kind[gvk]; ok {
		return w, nil
	}
	w = &watch{informer: dynamicinformer.NewFilteredDynamicInformer(
		c.cluster.Dynamic, mapping.Resource, metav1.NamespaceAll, 0,
		cache.Indexers{byApp: indexByApp}, nil).Informer()}
	err = errors.Join(
		w.informer.SetTransform(slim),
		w.informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) { c.watchFailed(gvk, w, err) }),
	)
	if err != nil {
		return nil, err
	}
	if _, err := w.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { c.tell(o, nil) },
		UpdateFunc: func(old, o any) { c.tell(o, old) },
		DeleteFunc: func(o any) { c.tell(o, nil) },
	}); err != nil {
		return nil, err
	}
	w.stop = c.spawn(w.informer.RunWithContext)
	c.kind[gvk] = w
	return w, nil
}

// watchFailed ends the watch of a kind that the cluster does not have any more;
// other failures pass.
func (c *Cache) watchFailed(gvk schema.GroupVersionKind, w *watch, err error) {
	if !apierrors.IsNotFound(err) {
		c.log.Debug("watch ended, starting again", "kind", gvk.String(), "error", err)
		return
	}
	c.mu.Lock()
	if c.kind[gvk] == w {
		delete(c.kind, gvk)
	}
	c.mu.Unlock()
	w.stop()
	c.cluster.Rediscover()
	for _, app := range w.informer.GetIndexer().ListIndexFuncValues(byApp) {
		c.changed(app)
	}
}

// synced waits until the first list has arrived.
func (w *watch) synced(ctx context.Context) error {
	if w.informer.HasSynced() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if !cache.WaitForCacheSync(ctx.Done(), w.informer.HasSynced) {
		return fmt.Errorf("the first list did not arrive: %w", context.Cause(ctx))
	}
	return nil
}

func (c *Cache) tell(o, old any) {
	apps := map[string]bool{}
	for _, x := range []any{o, old} {
		if t, ok := x.(cache.DeletedFinalStateUnknown); ok {
			x = t.Obj
		}
		if u, ok := x.(*unstructured.Unstructured); ok {
			if app := compare.Owner(u); app != "" {
				apps[app] = true
			}
		}
	}
	for app := range apps {
		c.changed(app)
	}
}

func indexByApp(o any) ([]string, error) {
	if u, ok := o.(*unstructured.Unstructured); ok {
		if app := compare.Owner(u); app != "" {
			return []string{app}, nil
		}
	}
	return nil, nil
}

// slim keeps of an object that no Application owns what identifies it.
func slim(o any) (any, error) {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return o, nil
	}
	if _, marked := u.GetAnnotations()[v1alpha1.AnnotationTrackingID]; marked {
		return u, nil
	}
	s := &unstructured.Unstructured{Object: map[string]any{"apiVersion": u.GetAPIVersion(), "kind": u.GetKind()}}
	s.SetName(u.GetName())
	s.SetNamespace(u.GetNamespace())
	s.SetUID(u.GetUID())
	s.SetResourceVersion(u.GetResourceVersion())
	return s, nil
}
