package gateway

import (
	"context"
	"encoding/json"
	"log/slog"
	"reflect"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/internal/host/gateway/route"
)

// fieldManager owns what the gateway writes.
const fieldManager = "penstock-gateway"

// planWriter writes the status of the Gateway API's objects where it differs
// from what it is to be.
type planWriter struct {
	api     *gatewayAPI
	address string
	now     func() time.Time
	log     *slog.Logger
	offered chan route.Status // the latest plan
}

func newPlanWriter(api *gatewayAPI, domain string, log *slog.Logger) *planWriter {
	return &planWriter{api: api, address: domain, now: time.Now, log: log, offered: make(chan route.Status, 1)}
}

// offer hands over a plan; one that was not taken yet is replaced. Only one
// goroutine may call it.
func (w *planWriter) offer(s route.Status) {
	select {
	case <-w.offered:
	default:
	}
	w.offered <- s
}

// run writes until ctx ends. What failed is tried again after a pause, by the
// latest plan.
func (w *planWriter) run(ctx context.Context) {
	var plan route.Status
	var retry <-chan time.Time
	for {
		select {
		case plan = <-w.offered:
		case <-retry:
		case <-ctx.Done():
			return
		}
		retry = nil
		if !w.write(ctx, plan) {
			retry = time.After(5 * time.Second)
		}
	}
}

// write returns false when something should be tried again.
func (w *planWriter) write(ctx context.Context, plan route.Status) bool {
	ok := true
	put := func(gvr schema.GroupVersionResource, name string, status func(live map[string]any) map[string]any) {
		ok = w.put(ctx, gvr, name, status) && ok
	}
	for _, name := range route.Names(plan.Classes) {
		s := plan.Classes[name]
		put(gatewayClasses, name, func(live map[string]any) map[string]any {
			return map[string]any{"conditions": conditions(list(live, "conditions"), s.Conditions, s.Generation, w.now())}
		})
	}
	for _, name := range route.Names(plan.Gateways) {
		s := plan.Gateways[name]
		put(gateways, name, func(live map[string]any) map[string]any { return w.gateway(s, live) })
	}
	for _, name := range route.Names(plan.Routes) {
		s := plan.Routes[name]
		put(httpRoutes, name, func(live map[string]any) map[string]any {
			return map[string]any{"parents": parents(s, list(live, "parents"), w.now())}
		})
	}
	// Routes that are attached to us no more.
	for _, u := range w.api.kinds[httpRoutes].list() {
		name := u.GetName()
		if u.GetNamespace() != "" {
			name = u.GetNamespace() + "/" + name
		}
		if _, planned := plan.Routes[name]; !planned && hasParent(u) {
			put(httpRoutes, name, func(live map[string]any) map[string]any {
				return map[string]any{"parents": parents(route.AtParents{}, list(live, "parents"), w.now())}
			})
		}
	}
	return ok
}

func (w *planWriter) put(ctx context.Context, gvr schema.GroupVersionResource, name string, status func(live map[string]any) map[string]any) bool {
	u := w.api.live(gvr, name)
	if u == nil || u.GetDeletionTimestamp() != nil {
		return true
	}
	live, _, _ := unstructured.NestedMap(u.Object, "status")
	want := status(live)
	same := true
	for k, v := range want {
		same = same && reflect.DeepEqual(v, live[k])
	}
	if same {
		return true
	}
	// A version makes sure that what others have written is still there.
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": u.GetResourceVersion()}, "status": want})
	if err != nil {
		w.log.Error("status was not encoded", "object", name, "err", err)
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err = w.api.client.Resource(gvr).Namespace(u.GetNamespace()).Patch(ctx, u.GetName(), types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager}, "status")
	switch {
	case err == nil, apierrors.IsNotFound(err):
		return true
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err):
		w.log.Warn("status cannot be written", "kind", u.GetKind(), "object", name, "err", err)
		return true
	}
	w.log.Debug("status was not written", "kind", u.GetKind(), "object", name, "err", err)
	return false
}

func (w *planWriter) gateway(s route.GatewayStatus, live map[string]any) map[string]any {
	now := w.now()
	liveListeners := map[string]map[string]any{}
	for _, l := range list(live, "listeners") {
		if m, ok := l.(map[string]any); ok {
			name, _ := m["name"].(string)
			liveListeners[name] = m
		}
	}
	listeners := []any{}
	for _, l := range s.Listeners {
		kinds := []any{}
		if l.Kinds {
			kinds = append(kinds, map[string]any{"group": route.GatewayGroup, "kind": "HTTPRoute"})
		}
		listeners = append(listeners, map[string]any{
			"name": l.Name, "supportedKinds": kinds, "attachedRoutes": int64(l.Attached),
			"conditions": conditions(list(liveListeners[l.Name], "conditions"), l.Conditions, s.Generation, now),
		})
	}
	return map[string]any{
		"addresses":  []any{map[string]any{"type": "Hostname", "value": w.address}},
		"conditions": conditions(list(live, "conditions"), s.Conditions, s.Generation, now),
		"listeners":  listeners,
	}
}

// parents is what a route's status is to say: about our parents what the plan
// says, about those of others what they say.
func parents(s route.AtParents, live []any, now time.Time) []any {
	var out []any
	mine := map[string][]any{}
	for _, p := range live {
		m, ok := p.(map[string]any)
		if !ok {
			continue
		}
		if m["controllerName"] != route.Controller {
			out = append(out, p)
			continue
		}
		mine[refKey(m["parentRef"])] = list(m, "conditions")
	}
	if out == nil {
		out = []any{}
	}
	for _, p := range s.Parents {
		ref := plain(p.Parent)
		out = append(out, map[string]any{
			"parentRef": ref, "controllerName": route.Controller,
			"conditions": conditions(mine[refKey(ref)], p.Conditions, s.Generation, now),
		})
	}
	return out
}

func hasParent(u *unstructured.Unstructured) bool {
	live, _, _ := unstructured.NestedSlice(u.Object, "status", "parents")
	for _, p := range live {
		if m, ok := p.(map[string]any); ok && m["controllerName"] == route.Controller {
			return true
		}
	}
	return false
}

func refKey(ref any) string {
	b, err := json.Marshal(ref)
	if err != nil {
		return ""
	}
	return string(b)
}

// plain gives v the form that unstructured objects have.
func plain(v any) (m map[string]any) {
	b, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err != nil {
		return map[string]any{}
	}
	for k, x := range m {
		if f, ok := x.(float64); ok {
			m[k] = int64(f)
		}
	}
	return m
}

// conditions keeps the time of a condition whose status stays.
func conditions(live []any, want []route.Condition, generation int64, now time.Time) []any {
	since := map[string]any{}
	for _, c := range live {
		if m, ok := c.(map[string]any); ok {
			kind, _ := m["type"].(string)
			status, _ := m["status"].(string)
			since[kind+"="+status] = m["lastTransitionTime"]
		}
	}
	out := make([]any, 0, len(want))
	for _, c := range want {
		at := since[c.Type+"="+c.Status]
		if at == nil {
			at = now.UTC().Format(time.RFC3339)
		}
		out = append(out, map[string]any{
			"type": c.Type, "status": c.Status, "reason": c.Reason, "message": c.Message,
			"observedGeneration": generation, "lastTransitionTime": at,
		})
	}
	return out
}

func list(m map[string]any, key string) []any {
	l, _ := m[key].([]any)
	return l
}
