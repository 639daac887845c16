package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"

	"github.com/penstock-dev/penstock/internal/host/gateway/crd"
	"github.com/penstock-dev/penstock/internal/host/gateway/route"
)

// The kinds of the Gateway API that the gateway reads. They are of a
// definition, so they may come and go while it runs.
var (
	gatewayClasses  = schema.GroupVersionResource{Group: route.GatewayGroup, Version: "v1", Resource: "gatewayclasses"}
	gateways        = schema.GroupVersionResource{Group: route.GatewayGroup, Version: "v1", Resource: "gateways"}
	httpRoutes      = schema.GroupVersionResource{Group: route.GatewayGroup, Version: "v1", Resource: "httproutes"}
	referenceGrants = schema.GroupVersionResource{Group: route.GatewayGroup, Version: "v1beta1", Resource: "referencegrants"}

	definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

// gatewayAPI is the local copy of the Gateway API's objects.
type gatewayAPI struct {
	client dynamic.Interface
	log    *slog.Logger
	kinds  map[schema.GroupVersionResource]*objects[*unstructured.Unstructured]
}

const (
	settleTime   = 30 * time.Second
	firstInstall = time.Second // pause before the definitions are looked for again
	lastInstall  = 30 * time.Second
)

func newGatewayAPI(client dynamic.Interface, log *slog.Logger, changed func()) *gatewayAPI {
	a := &gatewayAPI{client: client, log: log, kinds: map[schema.GroupVersionResource]*objects[*unstructured.Unstructured]{}}
	for _, gvr := range []schema.GroupVersionResource{gatewayClasses, gateways, httpRoutes, referenceGrants} {
		a.kinds[gvr] = newObjects[*unstructured.Unstructured](changed)
	}
	return a
}

// run installs what the cluster does not have, waits until all kinds are served
// and copies them until ctx ends. Requests are routed without them meanwhile.
func (a *gatewayAPI) run(ctx context.Context) {
	for pause := firstInstall; ; pause = min(2*pause, lastInstall) {
		err := a.install(ctx)
		if err == nil {
			break
		}
		if ctx.Err() == nil {
			a.log.Debug("the Gateway API is not served yet", "err", err)
		}
		if !sleep(ctx, pause) {
			return
		}
	}
	done := make(chan struct{})
	n := 0
	for gvr, store := range a.kinds {
		n++
		reflector := newReflector(gvr.Resource, a.listWatch(gvr), &unstructured.Unstructured{}, store, a.log)
		go func() {
			reflector.RunWithContext(quietly(ctx, a.log))
			done <- struct{}{}
		}()
	}
	for range n {
		<-done
	}
}

// settled waits until the objects are copied, where the cluster has their kinds
// already: a table without the routes that were served before would refuse
// their requests.
func (a *gatewayAPI) settled(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for {
		_, err := a.client.Resource(httpRoutes).List(ctx, metav1.ListOptions{Limit: 1})
		if apierrors.IsNotFound(err) {
			return
		}
		if err == nil {
			break
		}
		if !sleep(ctx, 100*time.Millisecond) {
			return
		}
	}
	for _, store := range a.kinds {
		select {
		case <-store.synced:
		case <-ctx.Done():
			return
		}
	}
}

// synced says whether all kinds are copied.
func (a *gatewayAPI) synced() bool {
	for _, store := range a.kinds {
		select {
		case <-store.synced:
		default:
			return false
		}
	}
	return true
}

func (a *gatewayAPI) listWatch(gvr schema.GroupVersionResource) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return a.client.Resource(gvr).List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return a.client.Resource(gvr).Watch(ctx, o)
		},
	}
}

// install creates the definitions and the class "penstock" where there are
// none; what is there stays as it is. It returns nil once the kinds are served.
func (a *gatewayAPI) install(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	list, err := crd.Definitions()
	if err != nil {
		return err
	}
	for _, d := range list {
		_, err := a.client.Resource(definitions).Get(ctx, d.GetName(), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			_, err = a.client.Resource(definitions).Create(ctx, d, metav1.CreateOptions{FieldManager: fieldManager})
			if err == nil {
				a.log.Info("installed a definition of the Gateway API", "name", d.GetName())
			}
		}
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("install %s: %w", d.GetName(), err)
		}
	}
	for gvr := range a.kinds {
		if _, err := a.client.Resource(gvr).List(ctx, metav1.ListOptions{Limit: 1}); err != nil {
			return fmt.Errorf("look for %s: %w", gvr.Resource, err)
		}
	}
	class := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": route.GatewayGroup + "/v1", "kind": "GatewayClass",
		"metadata": map[string]any{"name": route.Class},
		"spec":     map[string]any{"controllerName": route.Controller},
	}}
	_, err = a.client.Resource(gatewayClasses).Create(ctx, class, metav1.CreateOptions{FieldManager: fieldManager})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create GatewayClass %s: %w", route.Class, err)
	}
	return nil
}

// read decodes the objects. One that cannot be decoded, which its definition
// does not allow, is left out. complete is false before all kinds are copied.
func (a *gatewayAPI) read() (o route.GatewayObjects, complete bool) {
	if !a.synced() {
		return o, false
	}
	note := func(u *unstructured.Unstructured, err error) {
		a.log.Warn("object is left out", "kind", u.GetKind(), "name", u.GetNamespace()+"/"+u.GetName(), "err", err)
	}
	for gvr, store := range a.kinds {
		for _, u := range store.list() {
			b, err := json.Marshal(u.Object)
			if err == nil {
				switch gvr {
				case gatewayClasses:
					o.Classes, err = decodeInto(o.Classes, b)
				case referenceGrants:
					o.Grants, err = decodeInto(o.Grants, b)
				case gateways:
					var g *route.Gateway
					if g, err = route.DecodeGateway(b); err == nil {
						o.Gateways = append(o.Gateways, g)
					}
				case httpRoutes:
					var r *route.HTTPRoute
					if r, err = route.DecodeHTTPRoute(b); err == nil {
						o.Routes = append(o.Routes, r)
					}
				}
			}
			if err != nil {
				note(u, err)
			}
		}
	}
	return o, true
}

func decodeInto[T any](list []*T, b []byte) ([]*T, error) {
	v := new(T)
	if err := json.Unmarshal(b, v); err != nil {
		return list, err
	}
	return append(list, v), nil
}

// live returns the copy of an object, nil when it is gone.
func (a *gatewayAPI) live(gvr schema.GroupVersionResource, name string) *unstructured.Unstructured {
	obj, ok, err := a.kinds[gvr].GetByKey(name)
	if err != nil || !ok {
		return nil
	}
	u, _ := obj.(*unstructured.Unstructured)
	return u
}
