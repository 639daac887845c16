package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/penstock-dev/penstock/internal/host/gateway/route"
)

func (a *apiServer) dynamic(t *testing.T) dynamic.Interface {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", a.kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	d, err := dynamic.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func create(t *testing.T, d dynamic.Interface, gvr schema.GroupVersionResource, manifest string) {
	t.Helper()
	u := new(unstructured.Unstructured)
	if err := yaml.Unmarshal([]byte(manifest), &u.Object); err != nil {
		t.Fatal(err)
	}
	eventually(t, 60*time.Second, "create "+u.GetName(), func() error {
		_, err := d.Resource(gvr).Namespace(u.GetNamespace()).Create(t.Context(), u, metav1.CreateOptions{})
		return err
	})
}

// status waits until the object's status holds each of the texts.
func status(t *testing.T, d dynamic.Interface, gvr schema.GroupVersionResource, namespace, name string, want ...string) {
	t.Helper()
	eventually(t, 60*time.Second, "the status of "+name, func() error {
		u, err := d.Resource(gvr).Namespace(namespace).Get(context.WithoutCancel(t.Context()), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		b, err := json.Marshal(u.Object["status"])
		if err != nil {
			return err
		}
		for _, w := range want {
			if !strings.Contains(string(b), w) {
				return fmt.Errorf("no %s in %s", w, b)
			}
		}
		return nil
	})
}

// httpRoutesOf creates a Gateway and routes for the Service shop/web.
func httpRoutesOf(t *testing.T, d dynamic.Interface, answers func(host string, want int)) {
	t.Helper()
	status(t, d, gatewayClasses, "", route.Class, `"type":"Accepted"`, `"status":"True"`)
	create(t, d, gateways, `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: main, namespace: shop}
spec: {gatewayClassName: penstock, listeners: [{name: http, port: 80, protocol: HTTP}]}`)
	create(t, d, httpRoutes, `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{name: main}]
  hostnames: [route.localhost]
  rules: [{backendRefs: [{name: web, port: 80}]}]`)
	create(t, d, httpRoutes, `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: regex, namespace: shop}
spec:
  parentRefs: [{name: main}]
  hostnames: [regex.localhost]
  rules: [{matches: [{path: {type: RegularExpression, value: "/.*"}}], backendRefs: [{name: web, port: 80}]}]`)
	answers("route.localhost", 200)
	answers("regex.localhost", 404)
	status(t, d, httpRoutes, "shop", "web", `"controllerName":"penstock.dev/gateway"`, `"reason":"Accepted"`, `"reason":"ResolvedRefs"`)
	status(t, d, httpRoutes, "shop", "regex", `"reason":"UnsupportedValue"`, `RegularExpression`)
	status(t, d, gateways, "shop", "main", `"attachedRoutes":1`, `"reason":"Programmed"`, `"value":"localhost"`)
	// A route that names another parent loses what we said about it.
	patch := []byte(`[{"op":"replace","path":"/spec/parentRefs/0/name","value":"elsewhere"}]`)
	if _, err := d.Resource(httpRoutes).Namespace("shop").Patch(t.Context(), "regex", "application/json-patch+json", patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	status(t, d, httpRoutes, "shop", "regex", `"parents":[]`)
}

func TestParents(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	foreign := map[string]any{"controllerName": "istio.io/gateway", "parentRef": map[string]any{"name": "x"}}
	port := int32(80)
	plan := route.AtParents{Generation: 2, Parents: []route.ParentStatus{{
		Parent:     route.ParentRef{Name: "main", Port: &port},
		Conditions: []route.Condition{{Type: "Accepted", Status: "True", Reason: "Accepted", Message: "served"}},
	}}}
	first := parents(plan, []any{foreign}, now)
	if len(first) != 2 || first[0].(map[string]any)["controllerName"] != "istio.io/gateway" {
		t.Fatalf("%v", first)
	}
	later := parents(plan, first, now.Add(time.Hour))
	if fmt.Sprint(later) != fmt.Sprint(first) {
		t.Errorf("nothing changed and the status did:\n%v\n%v", first, later)
	}
	plan.Parents[0].Conditions[0].Status = "False"
	if again := fmt.Sprint(parents(plan, first, now.Add(time.Hour))); !strings.Contains(again, "04:04:05") {
		t.Errorf("no new time: %v", again)
	}
	if gone := parents(route.AtParents{}, first, now); len(gone) != 1 {
		t.Errorf("%v", gone)
	}
}
