package route

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// gatewayObject decodes as the gateway does.
func gatewayObject(t testing.TB, o *GatewayObjects, kind, doc string) {
	t.Helper()
	b, err := yaml.YAMLToJSON([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	switch kind {
	case "Gateway":
		g, err := DecodeGateway(b)
		if err != nil {
			t.Fatal(err)
		}
		o.Gateways = append(o.Gateways, g)
	case "HTTPRoute":
		r, err := DecodeHTTPRoute(b)
		if err != nil {
			t.Fatal(err)
		}
		o.Routes = append(o.Routes, r)
	case "GatewayClass":
		c := new(GatewayClass)
		if err := json.Unmarshal(b, c); err != nil {
			t.Fatal(err)
		}
		o.Classes = append(o.Classes, c)
	case "ReferenceGrant":
		g := new(ReferenceGrant)
		if err := json.Unmarshal(b, g); err != nil {
			t.Fatal(err)
		}
		o.Grants = append(o.Grants, g)
	}
}

const gatewayBase = shop + `
---
kind: GatewayClass
metadata: {name: penstock, generation: 1}
spec: {controllerName: penstock.dev/gateway}
---
kind: GatewayClass
metadata: {name: istio}
spec: {controllerName: istio.io/gateway}
---
kind: Gateway
metadata: {name: main, namespace: shop, generation: 3}
spec:
  gatewayClassName: penstock
  listeners:
  - {name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}
  - {name: inner, port: 80, protocol: HTTP, hostname: "*.inner.example"}
  - {name: tls, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: x}]}}
---
kind: Gateway
metadata: {name: foreign, namespace: shop}
spec: {gatewayClassName: istio, listeners: [{name: http, port: 80, protocol: HTTP}]}
`

func httpRoute(name, spec string) string {
	return "\n---\nkind: HTTPRoute\nmetadata: {name: " + name + ", namespace: shop, generation: 2}\nspec:\n  parentRefs: [{name: main, sectionName: http}]\n" + spec
}

// find looks "METHOD http://host/path name:value..." up and says where it goes.
func find(t *testing.T, table *Table, what string) string {
	t.Helper()
	f := strings.Fields(what)
	u, err := url.Parse(f[1])
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	for _, kv := range f[2:] {
		k, v, _ := strings.Cut(kv, ":")
		h.Add(k, v)
	}
	m, miss := table.Find(u.Hostname(), Request{Method: f[0], URL: u, Header: h})
	switch {
	case miss != nil:
		return "miss: " + miss.Reason
	case m.Action == nil:
		return m.Backend
	case m.Action.Redirect != nil:
		return "redirect"
	}
	if w, ok := m.Action.Pick(0); ok && w.Backend != "" {
		return w.Backend
	} else if ok {
		return "error: " + w.Why
	}
	return "no backend"
}

func TestHTTPRouteMatches(t *testing.T) {
	backend := func(name string, port int) string {
		return fmt.Sprintf("backendRefs: [{name: %s, port: %d}]", name, port)
	}
	web, api, admin := backend("web", 80), backend("api", 8000), backend("api", 9000)
	all := gatewayBase + httpRoute("a", `
  hostnames: [a.example]
  rules:
  - {matches: [{path: {type: PathPrefix, value: /}}], `+web+`}
  - {matches: [{path: {type: PathPrefix, value: /v2}}], `+api+`}
  - {matches: [{path: {type: Exact, value: /v2}}], `+admin+`}
  - {matches: [{path: {type: PathPrefix, value: /v2}, method: DELETE}], `+admin+`}
  - {matches: [{path: {type: PathPrefix, value: /v2}, headers: [{name: x-canary, value: "1"}]}], `+admin+`}
  - {matches: [{path: {type: PathPrefix, value: /v2}, headers: [{name: x-canary, value: "1"}, {name: x-user, value: ann}]}], `+web+`}
  - {matches: [{path: {type: PathPrefix, value: /v2}, queryParams: [{name: q, value: a b}]}], `+admin+`}
  - {matches: [{path: {type: PathPrefix, value: /either}}, {headers: [{name: either, value: "yes"}]}], `+api+`}
`) + httpRoute("wild", `
  hostnames: ["*.a.example"]
  rules: [{`+api+`}]
`) + httpRoute("wilder", `
  hostnames: ["*.example"]
  rules: [{`+web+`}]
`) + httpRoute("narrow", `
  hostnames: [x.b.a.example]
  rules: [{matches: [{path: {type: Exact, value: /only}}], `+admin+`}]
`) + httpRoute("broken", `
  hostnames: [broken.example]
  rules:
  - {matches: [{path: {type: PathPrefix, value: /gone}}], backendRefs: [{name: nowhere, port: 80}]}
  - {matches: [{path: {type: PathPrefix, value: /port}}], backendRefs: [{name: web, port: 81}]}
  - {matches: [{path: {type: PathPrefix, value: /kind}}], backendRefs: [{group: x.dev, kind: Bucket, name: web, port: 80}]}
  - {matches: [{path: {type: PathPrefix, value: /other}}], backendRefs: [{name: api, namespace: bank, port: 80}]}
  - {matches: [{path: {type: PathPrefix, value: /zero}}], backendRefs: [{name: web, port: 80, weight: 0}]}
  - {matches: [{path: {type: PathPrefix, value: /none}}]}
`)
	table := Build("localhost", objects(t, all))
	for what, want := range map[string]string{
		"GET http://a.example/":                           "shop/web:80",
		"GET http://a.example/v2x":                        "shop/web:80",
		"GET http://a.example/v2":                         "shop/api:admin",
		"GET http://a.example/v2/":                        "shop/api:http",
		"GET http://a.example/v2/x":                       "shop/api:http",
		"DELETE http://a.example/v2/x":                    "shop/api:admin",
		"GET http://a.example/v2/x x-canary:1":            "shop/api:admin",
		"GET http://a.example/v2/x X-Canary:1 X-User:ann": "shop/web:80",
		"GET http://a.example/v2/x x-canary:2":            "shop/api:http",
		"GET http://a.example/v2/x?q=a+b":                 "shop/api:admin",
		"GET http://a.example/v2/x?q=a":                   "shop/api:http",
		"GET http://a.example/either/1":                   "shop/api:http",
		"GET http://a.example/neither either:yes":         "shop/api:http",
		"GET http://b.a.example/":                         "shop/api:http",
		"GET http://c.b.a.example/":                       "shop/api:http",
		"GET http://b.example/":                           "shop/web:80",
		"GET http://x.b.a.example/only":                   "shop/api:admin",
		"GET http://x.b.a.example/else":                   "shop/api:http", // the next less specific
		"GET http://shop.localhost/api/x":                 "shop/api:http", // the Ingress
		"GET http://web.localhost/":                       "shop/web:80",
		"GET http://nowhere.test/":                        "shop/web:80", // the default backend of an Ingress
		"GET http://broken.example/gone":                  "error: Service shop/nowhere does not exist",
		"GET http://broken.example/port":                  "error: Service shop/web has no port 81",
		"GET http://broken.example/kind":                  "error: a backend is a Bucket, not a Service",
		"GET http://broken.example/other":                 "error: no ReferenceGrant in namespace bank lets HTTPRoutes of shop name Service bank/api",
		"GET http://broken.example/zero":                  "no backend",
		"GET http://broken.example/none":                  "no backend",
	} {
		if got := find(t, table, what); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	b, err := json.Marshal(table)
	if err != nil {
		t.Fatal(err)
	}
	back := new(Table)
	if err := json.Unmarshal(b, back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(table, back); d != "" {
		t.Errorf("after json (-want +got)\n%s", d)
	}
	if err := back.Check("localhost"); err != nil {
		t.Error(err)
	}
	granted := objects(t, all+`
---
kind: ReferenceGrant
metadata: {name: g, namespace: bank}
spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}], to: [{group: "", kind: Service, name: api}]}
`)
	if got := find(t, Build("localhost", granted), "GET http://broken.example/other"); got != "bank/api:80" {
		t.Errorf("with a grant: %s", got)
	}
}

func TestHosts(t *testing.T) {
	for _, c := range []struct {
		listener string
		route    []string
		want     []string
	}{
		{"", nil, []string{""}},
		{"a.example", nil, []string{"a.example"}},
		{"", []string{"A.example", "*.b"}, []string{"a.example", "*.b"}},
		{"*.example", []string{"a.example", "b.a.example", "example", "a.test"}, []string{"a.example", "b.a.example"}},
		{"*.example", []string{"*.a.example", "*.example", "*.test"}, []string{"*.a.example", "*.example"}},
		{"a.example", []string{"*.example", "b.example"}, []string{"a.example"}},
		{"*.a.example", []string{"*.example"}, []string{"*.a.example"}},
		{"a.example", []string{"*.a.example"}, nil},
	} {
		if d := cmp.Diff(c.want, hosts(c.listener, c.route)); d != "" {
			t.Errorf("%q %q (-want +got)\n%s", c.listener, c.route, d)
		}
	}
}

func TestGatewayStatus(t *testing.T) {
	rule := "  rules: [{backendRefs: [{name: web, port: 80}]}]\n"
	route := func(name, namespace, parents, rest string) string {
		return "\n---\nkind: HTTPRoute\nmetadata: {name: " + name + ", namespace: " + namespace + ", generation: 2}\nspec:\n  parentRefs: [" + parents + "]\n" + rest
	}
	o := objects(t, gatewayBase+
		route("good", "shop", "{name: main, sectionName: http}", rule)+
		route("host", "shop", "{name: main, sectionName: inner}", "  hostnames: [a.example]\n"+rule)+
		route("wrong", "shop", "{name: main, sectionName: nope}", rule)+
		route("tls", "shop", "{name: main, sectionName: tls}", rule)+
		route("stranger", "bank", "{name: main, namespace: shop, sectionName: inner}", rule)+
		route("foreign", "shop", "{name: foreign}", rule)+
		route("mesh", "shop", `{group: "", kind: Service, name: web}`, rule)+
		route("lost", "shop", "{name: main}", "  rules: [{backendRefs: [{name: nowhere, port: 80}]}]\n")+
		route("regex", "shop", "{name: main}", "  rules: [{matches: [{path: {type: RegularExpression, value: /x}}]}]\n")+
		route("retry", "shop", "{name: main}", "  rules: [{retry: {attempts: 3}}]\n")+
		route("cors", "shop", "{name: main}", "  rules: [{filters: [{type: CORS, cors: {allowOrigins: [x]}}]}]\n")+
		route("filters", "shop", "{name: main}", "  rules: [{backendRefs: [{name: web, port: 80, filters: [{type: URLRewrite}]}]}]\n")+`
---
kind: Gateway
metadata: {name: odd, namespace: shop}
spec: {gatewayClassName: penstock, infrastructure: {labels: {a: b}}, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
kind: Gateway
metadata: {name: udp, namespace: shop}
spec: {gatewayClassName: penstock, listeners: [{name: u, port: 53, protocol: UDP}]}
`)
	table, status := BuildWithStatus("localhost", o)
	for name, want := range map[string]string{
		"shop/good":     "Accepted=True Accepted, ResolvedRefs=True ResolvedRefs",
		"shop/host":     "Accepted=False NoMatchingListenerHostname, ResolvedRefs=True ResolvedRefs",
		"shop/wrong":    "Accepted=False NoMatchingParent, ResolvedRefs=True ResolvedRefs",
		"shop/tls":      "Accepted=False NoMatchingParent, ResolvedRefs=True ResolvedRefs",
		"bank/stranger": "Accepted=False NotAllowedByListeners, ResolvedRefs=False BackendNotFound",
		"shop/foreign":  "",
		"shop/mesh":     "",
		"shop/lost":     "Accepted=True Accepted, ResolvedRefs=False BackendNotFound",
		"shop/regex":    "Accepted=False UnsupportedValue, ResolvedRefs=True ResolvedRefs",
		"shop/retry":    "Accepted=False UnsupportedValue, ResolvedRefs=True ResolvedRefs",
		"shop/cors":     "Accepted=False UnsupportedValue, ResolvedRefs=True ResolvedRefs",
		"shop/filters":  "Accepted=False UnsupportedValue, ResolvedRefs=True ResolvedRefs",
	} {
		got := ""
		for _, p := range status.Routes[name].Parents {
			got += text(p.Conditions)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]string{
		"shop/main":    "Accepted=True ListenersNotValid, Programmed=True Programmed",
		"shop/odd":     "Accepted=False UnsupportedValue, Programmed=False Invalid",
		"shop/udp":     "Accepted=False ListenersNotValid, Programmed=False Invalid",
		"shop/foreign": "",
	} {
		if got := text(status.Gateways[name].Conditions); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	attached := map[string]int32{}
	for _, l := range status.Gateways["shop/main"].Listeners {
		attached[l.Name] = l.Attached
	}
	if d := cmp.Diff(map[string]int32{"http": 2, "inner": 1, "tls": 0}, attached); d != "" {
		t.Errorf("attached (-want +got)\n%s", d)
	}
	if len(status.Classes) != 1 || text(status.Classes["penstock"].Conditions) != "Accepted=True Accepted" {
		t.Errorf("classes %+v", status.Classes)
	}
	var notices []string
	for _, n := range table.Notices {
		if strings.HasPrefix(n.Object, "HTTPRoute shop/r") {
			notices = append(notices, n.Object+": "+n.Message)
		}
	}
	want := []string{
		"HTTPRoute shop/regex: it is not attached to Gateway shop/main: spec.rules[0]: matches[0].path: the type \"RegularExpression\" is not served",
		"HTTPRoute shop/retry: it is not attached to Gateway shop/main: spec.rules[0]: the field \"retry\" is not served",
	}
	if d := cmp.Diff(want, notices); d != "" {
		t.Errorf("notices (-want +got)\n%s", d)
	}
}

func text(list []Condition) string {
	var out []string
	for _, c := range list {
		out = append(out, c.Type+"="+c.Status+" "+c.Reason)
	}
	return strings.Join(out, ", ")
}

func TestLocation(t *testing.T) {
	for _, c := range []struct {
		r          Redirect
		host, from string
		want       string
	}{
		{Redirect{Scheme: "https"}, "app.localhost:7070", "/a?b=c", "https://app.localhost/a?b=c"},
		{Redirect{}, "app.localhost:7070", "/a", "http://app.localhost:7070/a"},
		{Redirect{Host: "other.example"}, "app.localhost:7070", "/a", "http://other.example:7070/a"},
		{Redirect{Port: 8080}, "app.localhost", "/", "http://app.localhost:8080/"},
		{Redirect{Port: 443, Scheme: "https"}, "app.localhost", "/", "https://app.localhost/"},
		{Redirect{Port: 80}, "app.localhost:7070", "/", "http://app.localhost/"},
		{Redirect{Path: &PathEdit{Full: true, Value: "/x y"}}, "a", "/z", "http://a/x%20y"},
		{Redirect{Path: &PathEdit{Prefix: "/v1", Value: "/v2"}}, "a", "/v1/x%2Fy?q", "http://a/v2/x%2Fy?q"},
		{Redirect{Path: &PathEdit{Prefix: "/v1", Value: "/"}}, "a", "/v1", "http://a/"},
		{Redirect{Path: &PathEdit{Prefix: "/v1/", Value: "/v2/"}}, "a", "/v1/x", "http://a/v2/x"},
		{Redirect{Path: &PathEdit{Prefix: "/", Value: "/p"}}, "a", "/x", "http://a/p/x"},
		{Redirect{}, "[::1]:7070", "/", "http://[::1]:7070/"},
	} {
		u, err := url.Parse(c.from)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.r.Location(c.host, u); got != c.want {
			t.Errorf("%+v of %s%s: %s, want %s", c.r, c.host, c.from, got, c.want)
		}
	}
}

func TestHeaderEdit(t *testing.T) {
	h := http.Header{"A": {"1"}, "B": {"1"}, "C": {"1"}}
	e := &HeaderEdit{Set: []NameValue{{"a", "2"}}, Add: []NameValue{{"b", "2"}, {"d", "1"}}, Remove: []string{"c"}}
	e.Apply(h)
	if d := cmp.Diff(http.Header{"A": {"2"}, "B": {"1", "2"}, "D": {"1"}}, h); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// TestPick counts what the weights give for every number of one round.
func TestPick(t *testing.T) {
	a := &Action{Backends: []Weighted{{Backend: "a", Weight: 90}, {Backend: "zero"}, {Backend: "b", Weight: 10}}}
	got := map[string]int{}
	for n := range uint64(1000) {
		w, ok := a.Pick(n)
		if !ok {
			t.Fatal("nothing picked")
		}
		got[w.Backend]++
	}
	if d := cmp.Diff(map[string]int{"a": 900, "b": 100}, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	m := Mirror{Numerator: 25, Denominator: 100}
	n := 0
	for i := range uint64(1000) {
		if m.Takes(i) {
			n++
		}
	}
	if n != 250 {
		t.Errorf("%d of 1000 mirrored", n)
	}
}

func FuzzDecodeHTTPRoute(f *testing.F) {
	f.Add([]byte(`{"metadata":{"name":"a"},"spec":{"parentRefs":[{"name":"g"}],"rules":[{"matches":[{"path":{"type":"Exact","value":"/"}}],"filters":[{"type":"RequestRedirect","requestRedirect":{"port":1}}],"timeouts":{"request":"1s"}}]}}`))
	f.Add([]byte(`{"spec":{"rules":[{"filters":[{"type":"URLRewrite","urlRewrite":{"path":{"type":"ReplacePrefixMatch","replacePrefixMatch":"/"}}}]}]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeHTTPRoute(b)
		if err != nil || r.Refused != "" {
			return
		}
		g := &Gateway{Class: "c", Listeners: []Listener{{Name: "l", Protocol: "HTTP"}}}
		g.Name, g.Namespace = "g", r.Namespace
		c := &GatewayClass{}
		c.Name, c.Spec.ControllerName = "c", Controller
		table := Build("localhost", Objects{Gateway: GatewayObjects{Classes: []*GatewayClass{c}, Gateways: []*Gateway{g}, Routes: []*HTTPRoute{r}}})
		if err := table.Check("localhost"); err != nil {
			t.Fatal(err)
		}
		u := &url.URL{Path: "/a"}
		if m, miss := table.Find("a", Request{Method: "GET", URL: u, Header: http.Header{}}); miss == nil && m.Action != nil {
			if m.Action.Redirect != nil {
				m.Action.Redirect.Location("a", u)
			}
			m.Action.Rewrite.Apply(u)
			m.Action.Pick(1)
		}
	})
}
