package gateway

import (
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/cache"
)

// objects is the local copy of one kind. Every change of it is announced.
type objects[T any] struct {
	cache.Store
	changed func()
	synced  chan struct{} // closed by the first complete list
}

func newObjects[T any](changed func()) *objects[T] {
	return &objects[T]{
		Store:   cache.NewStore(cache.MetaNamespaceKeyFunc, cache.WithTransformer(slim)),
		changed: changed,
		synced:  make(chan struct{}),
	}
}

// slim drops what routing never reads; it is most of an object's size.
func slim(obj any) (any, error) {
	if m, err := meta.Accessor(obj); err == nil {
		m.SetManagedFields(nil)
	}
	return obj, nil
}

func (o *objects[T]) Add(obj any) error    { defer o.changed(); return o.Store.Add(obj) }
func (o *objects[T]) Update(obj any) error { defer o.changed(); return o.Store.Update(obj) }
func (o *objects[T]) Delete(obj any) error { defer o.changed(); return o.Store.Delete(obj) }

func (o *objects[T]) Replace(list []any, version string) error {
	err := o.Store.Replace(list, version)
	if err == nil {
		select {
		case <-o.synced:
		default:
			close(o.synced)
		}
	}
	o.changed()
	return err
}

func (o *objects[T]) list() []T {
	all := o.Store.List()
	out := make([]T, 0, len(all))
	for _, x := range all {
		if t, ok := x.(T); ok {
			out = append(out, t)
		}
	}
	return out
}
