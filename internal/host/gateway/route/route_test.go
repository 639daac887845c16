package route

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// objects reads a stream of manifests.
func objects(t testing.TB, manifests string) Objects {
	t.Helper()
	var o Objects
	for doc := range strings.SplitSeq(manifests, "\n---\n") {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(doc), &kind); err != nil {
			t.Fatal(err)
		}
		var into any
		switch kind.Kind {
		case "Service":
			s := new(corev1.Service)
			o.Services, into = append(o.Services, s), s
		case "EndpointSlice":
			s := new(discoveryv1.EndpointSlice)
			o.Slices, into = append(o.Slices, s), s
		case "Ingress":
			s := new(networkingv1.Ingress)
			o.Ingresses, into = append(o.Ingresses, s), s
		case "Gateway", "HTTPRoute", "GatewayClass", "ReferenceGrant":
			gatewayObject(t, &o.Gateway, kind.Kind, doc)
			continue
		default:
			t.Fatalf("unknown kind %q in\n%s", kind.Kind, doc)
		}
		if err := yaml.UnmarshalStrict([]byte(doc), into); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
	}
	return o
}

const shop = `
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{port: 80, targetPort: 8080}]}
---
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080, protocol: TCP, name: ""}]
endpoints: [{addresses: [10.0.0.2]}, {addresses: [10.0.0.1]}]
---
kind: Service
metadata: {name: api, namespace: shop}
spec: {ports: [{name: admin, port: 9000}, {name: http, port: 8000}]}
---
kind: EndpointSlice
metadata: {name: api-1, namespace: shop, labels: {kubernetes.io/service-name: api}}
addressType: IPv4
ports: [{port: 9000, name: admin}, {port: 8001, name: http}]
endpoints: [{addresses: [10.0.0.3]}]
---
kind: Service
metadata: {name: api, namespace: bank}
spec: {ports: [{port: 80}]}
---
kind: Service
metadata: {name: many, namespace: shop}
spec: {ports: [{name: a, port: 1}, {name: b, port: 2}]}
---
kind: Service
metadata: {name: outside, namespace: shop}
spec: {type: ExternalName, externalName: example.com}
---
kind: Service
metadata: {name: secure, namespace: shop}
spec: {ports: [{port: 443, appProtocol: https}]}
---
kind: Ingress
metadata: {name: main, namespace: shop, creationTimestamp: "2026-01-01T00:00:00Z"}
spec:
  rules:
  - host: shop.localhost
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
      - {path: /api, pathType: Prefix, backend: {service: {name: api, port: {name: http}}}}
      - {path: /api, pathType: Exact, backend: {service: {name: api, port: {name: admin}}}}
  - host: "*.shop.localhost"
    http:
      paths:
      - {path: /only/, pathType: ImplementationSpecific, backend: {service: {name: web, port: {number: 80}}}}
---
kind: Ingress
metadata: {name: later, namespace: bank, creationTimestamp: "2026-01-02T00:00:00Z"}
spec:
  rules:
  - host: shop.localhost
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: api, port: {number: 80}}}}
      - {path: /bank, pathType: Prefix, backend: {service: {name: api, port: {number: 80}}}}
      - {path: /gone, pathType: Prefix, backend: {service: {name: nowhere, port: {number: 80}}}}
      - {path: /noport, pathType: Prefix, backend: {service: {name: api, port: {name: x}}}}
---
kind: Ingress
metadata: {name: other, namespace: shop}
spec:
  ingressClassName: nginx
  rules:
  - host: nginx.localhost
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
---
kind: Ingress
metadata: {name: default, namespace: shop, annotations: {nginx.ingress.kubernetes.io/rewrite-target: /}}
spec:
  ingressClassName: penstock
  tls: [{hosts: [x]}]
  defaultBackend: {service: {name: web, port: {number: 80}}}
---
kind: Ingress
metadata: {name: own-default, namespace: shop}
spec:
  defaultBackend: {service: {name: api, port: {name: http}}}
  rules:
  - host: own.localhost
    http: {paths: [{path: /x, pathType: Exact, backend: {service: {name: web, port: {number: 80}}}}]}
`

func TestLookup(t *testing.T) {
	table := Build("localhost", objects(t, shop))
	for _, c := range []struct{ host, path, backend, source string }{
		{"shop.localhost", "/", "shop/web:80", "Ingress shop/main"},
		{"shop.localhost", "", "shop/web:80", "Ingress shop/main"},
		{"shop.localhost", "/x", "shop/web:80", "Ingress shop/main"},
		{"shop.localhost", "/api", "shop/api:admin", "Ingress shop/main"},
		{"shop.localhost", "/api/", "shop/api:http", "Ingress shop/main"},
		{"shop.localhost", "/api/x", "shop/api:http", "Ingress shop/main"},
		{"shop.localhost", "/apix", "shop/web:80", "Ingress shop/main"},
		{"shop.localhost", "/bank/x", "bank/api:80", "Ingress bank/later"},
		{"shop.localhost", "/gone", "bank/nowhere:80", "Ingress bank/later"},
		{"a.shop.localhost", "/only/x", "shop/web:80", "Ingress shop/main"},
		{"a.shop.localhost", "/only", "shop/web:80", "Ingress shop/main"},
		{"own.localhost", "/x", "shop/web:80", "Ingress shop/own-default"},
		{"own.localhost", "/y", "shop/api:http", "Ingress shop/own-default"},
		{"web.localhost", "/", "shop/web:80", "Service shop/web"},
		// "*.shop.localhost" is a host of an Ingress: it comes first, and what
		// it does not match goes to the default backend.
		{"web.shop.localhost", "/", "shop/web:80", "Ingress shop/default"},
		{"api.bank.localhost", "/", "bank/api:80", "Service bank/api"},
		// Not found by name: the default backend has them.
		{"nginx.localhost", "/", "shop/web:80", "Ingress shop/default"},
		{"api.localhost", "/", "shop/web:80", "Ingress shop/default"},
		{"example.com", "/", "shop/web:80", "Ingress shop/default"},
	} {
		m, miss := table.Lookup(c.host, c.path)
		if miss != nil {
			t.Errorf("%s%s: miss: %s", c.host, c.path, miss.Reason)
			continue
		}
		if m.Backend != c.backend || m.Source != c.source {
			t.Errorf("%s%s: got %s by %s, want %s by %s", c.host, c.path, m.Backend, m.Source, c.backend, c.source)
		}
		if table.Backends[m.Backend] == nil {
			t.Errorf("%s%s: backend %s is not in the table", c.host, c.path, m.Backend)
		}
	}
}

func TestMiss(t *testing.T) {
	o := objects(t, shop)
	var named []*networkingv1.Ingress
	for _, in := range o.Ingresses {
		if in.Name != "default" {
			named = append(named, in)
		}
	}
	o.Ingresses = named
	table := Build("localhost", o)
	for _, c := range []struct {
		host, reason string
		candidates   []string
	}{
		{"api.localhost", "several namespaces have a Service api", []string{"api.bank.localhost", "api.shop.localhost"}},
		{"api.dev.localhost", "there is no Service api in namespace dev", []string{"api.bank.localhost", "api.shop.localhost"}},
		{"nothing.localhost", "there is no Service and no Ingress for nothing.localhost", nil},
		{"a.b.c.localhost", "no route has the host a.b.c.localhost", nil},
		{"localhost", "no route has the host localhost", nil},
		{"x.shop.localhost", "no Ingress rule of host x.shop.localhost matches this path", nil},
		{"many.localhost", "Service shop/many: it has the ports a, b and none is named http or is 80; name one http, or write an Ingress that picks one", nil},
		{"outside.localhost", "Service shop/outside: it is of type ExternalName, which has no endpoints to send requests to", nil},
		{"secure.localhost", `Service shop/secure: the gateway does not speak appProtocol "https" of port 443; it speaks http, kubernetes.io/ws, kubernetes.io/h2c and grpc`, nil},
	} {
		m, miss := table.Lookup(c.host, "/")
		if miss == nil {
			t.Errorf("%s: found %s", c.host, m.Backend)
			continue
		}
		if miss.Reason != c.reason {
			t.Errorf("%s:\n got %s\nwant %s", c.host, miss.Reason, c.reason)
		}
		if d := cmp.Diff(c.candidates, miss.Candidates); d != "" {
			t.Errorf("%s: candidates (-want +got)\n%s", c.host, d)
		}
	}
	want := []string{"*.shop.localhost", "api.bank.localhost", "api.shop.localhost", "own.localhost", "shop.localhost", "web.localhost"}
	if d := cmp.Diff(want, table.HostNames()); d != "" {
		t.Errorf("host names (-want +got)\n%s", d)
	}
}

func TestNotices(t *testing.T) {
	table := Build("localhost", objects(t, shop))
	want := []Notice{
		{"Ingress bank/later", "Service bank/api: it has no port x"},
		{"Ingress bank/later", "Service bank/nowhere: it does not exist"},
		{"Ingress bank/later", "its rule for shop.localhost/ is not used: Ingress shop/main has the same rule and comes first"},
		{"Ingress shop/default", "the annotation nginx.ingress.kubernetes.io/rewrite-target has no effect"},
		{"Ingress shop/default", "tls has no effect: the gateway answers over plain HTTP"},
		{"Ingress shop/other", `it asks for the class "nginx"; the gateway serves only the class penstock or none`},
	}
	if d := cmp.Diff(want, table.Notices); d != "" {
		t.Errorf("notices (-want +got)\n%s", d)
	}
}

// TestUsable follows kube-proxy: ready endpoints, else those that still serve
// while they terminate.
func TestUsable(t *testing.T) {
	yes, no := new(bool), new(bool)
	*yes = true
	type cond = discoveryv1.EndpointConditions
	slice := func(family discoveryv1.AddressType, addr string, c cond) *discoveryv1.EndpointSlice {
		port := int32(80)
		name := "http"
		return &discoveryv1.EndpointSlice{AddressType: family, Ports: []discoveryv1.EndpointPort{{Port: &port, Name: &name}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{addr}, Conditions: c}}}
	}
	ready := cond{Ready: yes, Serving: yes, Terminating: no}
	unready := cond{Ready: no, Serving: no, Terminating: no}
	leaving := cond{Ready: no, Serving: yes, Terminating: yes}
	left := cond{Ready: no, Serving: no, Terminating: yes}
	v4, v6, fqdn := discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeFQDN
	for _, c := range []struct {
		name   string
		slices []*discoveryv1.EndpointSlice
		want   []string
		why    string
	}{
		{"unknown is ready", []*discoveryv1.EndpointSlice{slice(v4, "10.0.0.1", cond{})}, []string{"10.0.0.1:80"}, ""},
		{"ready over terminating", []*discoveryv1.EndpointSlice{slice(v4, "10.0.0.1", leaving), slice(v4, "10.0.0.2", ready)}, []string{"10.0.0.2:80"}, ""},
		{"terminating over nothing", []*discoveryv1.EndpointSlice{slice(v4, "10.0.0.1", leaving), slice(v4, "10.0.0.2", unready)}, []string{"10.0.0.1:80"}, ""},
		{"none", []*discoveryv1.EndpointSlice{slice(v4, "10.0.0.1", left), slice(v4, "10.0.0.2", unready)}, nil, "none of its 2 endpoints is ready"},
		{"twice in two slices", []*discoveryv1.EndpointSlice{slice(v4, "10.0.0.1", ready), slice(v4, "10.0.0.1", ready)}, []string{"10.0.0.1:80"}, ""},
		{"ipv6 alone", []*discoveryv1.EndpointSlice{slice(v6, "fd00::1", ready)}, []string{"[fd00::1]:80"}, ""},
		{"ipv4 first", []*discoveryv1.EndpointSlice{slice(v6, "fd00::1", ready), slice(v4, "10.0.0.1", ready)}, []string{"10.0.0.1:80"}, ""},
		{"names", []*discoveryv1.EndpointSlice{slice(fqdn, "a.example.com", ready)}, nil, "its endpoints are names, not addresses"},
		{"empty", nil, nil, "it has no endpoints: no Pod matches its selector, or none has an address yet"},
	} {
		got, why := usable(c.slices, "http")
		if d := cmp.Diff(c.want, got); d != "" || why != c.why {
			t.Errorf("%s: (-want +got)\n%s why %q, want %q", c.name, d, why, c.why)
		}
	}
	if got, _ := usable([]*discoveryv1.EndpointSlice{slice(v4, "10.0.0.1", ready)}, "other"); got != nil {
		t.Errorf("a port that the slice does not have: %v", got)
	}
}

func TestProtocol(t *testing.T) {
	for _, c := range []struct {
		name, app string
		h2c       bool
	}{
		{"http", "", false}, {"grpc", "", true}, {"grpc-api", "", true}, {"web", "kubernetes.io/h2c", true},
		{"web", "kubernetes.io/ws", false}, {"grpc", "http", false}, {"web", "GRPC", true},
	} {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "n", CreationTimestamp: metav1.NewTime(time.Time{})}}
		p := corev1.ServicePort{Name: c.name, Port: 1}
		if c.app != "" {
			p.AppProtocol = &c.app
		}
		s.Spec.Ports = []corev1.ServicePort{p}
		table := Build("localhost", Objects{Services: []*corev1.Service{s}})
		b := table.Backends["n/s:"+c.name]
		if b == nil || b.H2C != c.h2c {
			t.Errorf("port %s with appProtocol %q: %+v, want h2c %v", c.name, c.app, b, c.h2c)
		}
	}
}

// TestRoundTrip keeps the table on the disk equal to the one in memory, and
// Build independent of the order of its input.
func TestRoundTrip(t *testing.T) {
	o := objects(t, shop)
	table := Build("localhost", o)
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
	if err := back.Check("example.com"); err == nil {
		t.Error("a table for another domain was accepted")
	}
	reverse(o.Services)
	reverse(o.Slices)
	reverse(o.Ingresses)
	if again := Build("localhost", o); !again.Equal(table) {
		t.Errorf("other order (-want +got)\n%s", cmp.Diff(table, again))
	}
}

func reverse[T any](s []T) {
	for i, j := 0, len(s)-1; i < j; i, j = i+1, j-1 {
		s[i], s[j] = s[j], s[i]
	}
}

func TestParseHost(t *testing.T) {
	for in, want := range map[string]string{
		"shop.localhost":                "shop.localhost",
		"Shop.LocalHost:7070":           "shop.localhost",
		"shop.localhost.":               "shop.localhost",
		"shop.localhost.:80":            "shop.localhost",
		"127.0.0.1:7070":                "127.0.0.1",
		"[::1]:7070":                    "::1",
		"[::1]":                         "::1",
		"a_b.localhost":                 "a_b.localhost",
		"":                              "",
		".":                             "",
		"a..b":                          "",
		".a":                            "",
		"a b":                           "",
		"a/b":                           "",
		"a:b":                           "",
		"a:123456":                      "",
		"a:1:2":                         "",
		"[::1":                          "",
		"[x]":                           "",
		"[::1]x":                        "",
		"ü.localhost":                   "",
		strings.Repeat("a", 64):         "",
		strings.Repeat("a.", 126) + "a": strings.Repeat("a.", 126) + "a",
		strings.Repeat("a.", 130):       "",
	} {
		got, ok := ParseHost(in)
		if got != want || ok != (want != "") {
			t.Errorf("ParseHost(%q) = %q, %v; want %q", in, got, ok, want)
		}
	}
}

func FuzzParseHost(f *testing.F) {
	for _, s := range []string{"shop.localhost:7070", "[::1]:1", "A.b.", "a..b", "-", "[", ":1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, ok := ParseHost(s)
		if !ok {
			if host != "" {
				t.Fatalf("refused %q and returned %q", s, host)
			}
			return
		}
		if host == "" || host != strings.ToLower(host) || strings.ContainsAny(host, "/@?#\\ \x00[]") {
			t.Fatalf("ParseHost(%q) = %q", s, host)
		}
		if !strings.Contains(host, ":") {
			if again, ok := ParseHost(host); !ok || again != host {
				t.Fatalf("ParseHost(%q) = %q, and of that %q", s, host, again)
			}
		}
	})
}
