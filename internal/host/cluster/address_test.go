package cluster

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestParsePlace(t *testing.T) {
	service := func(name, ns, host string, sure bool) place {
		return place{kind: aService, name: name, namespace: ns, hostname: host, sure: sure}
	}
	for in, want := range map[string]place{
		"localhost":                         {kind: thisMachine},
		"penstock.localhost":                {kind: thisMachine},
		"Shop.LOCALHOST.":                   {kind: thisMachine},
		"notlocalhost":                      {},
		"prometheus":                        {},
		"prometheus.monitoring":             service("prometheus", "monitoring", "", false),
		"example.com":                       service("example", "com", "", false),
		"prometheus.monitoring.svc":         service("prometheus", "monitoring", "", true),
		"Prometheus.Monitoring.Svc.":        service("prometheus", "monitoring", "", true),
		"a.b.svc.cluster.local":             service("a", "b", "", true),
		"a.b.svc.cluster.local.":            service("a", "b", "", true),
		"db-0.db.data.svc":                  service("db", "data", "db-0", true),
		"db-0.db.data.svc.cluster.local":    service("db", "data", "db-0", true),
		"10-214-0-5.team.pod":               {kind: aPod, ip: "10.214.0.5", namespace: "team", sure: true},
		"10-214-0-5.team.pod.cluster.local": {kind: aPod, ip: "10.214.0.5", namespace: "team", sure: true},
		"name.team.pod":                     {},
		"a.b.cluster.local":                 {},
		"www.example.com":                   {},
		"svc":                               {},
		"a.svc":                             service("a", "svc", "", false),
		"a.b.c.d.svc":                       {},
		"10.0.0.1":                          {},
		"::1":                               {},
		"under_score.team.svc":              {},
		"..svc":                             {},
		"":                                  {},
		"a.b.svc.other.domain":              {},
	} {
		if d := cmp.Diff(want, parsePlace(in, Domain), cmp.AllowUnexported(place{})); d != "" {
			t.Errorf("%q: %s", in, d)
		}
	}
}

func FuzzParsePlace(f *testing.F) {
	for _, s := range []string{"a.b.svc", "1-2-3-4.x.pod.cluster.local", "localhost", "..", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, host string) {
		p := parsePlace(host, Domain)
		if p.kind == aService && (!label.MatchString(p.name) || !label.MatchString(p.namespace)) {
			t.Errorf("%q: %+v", host, p)
		}
	})
}

func TestChoose(t *testing.T) {
	yes, no := true, false
	text := func(s string) *string { return &s }
	num := func(n int32) *int32 { return &n }
	service := func(clusterIP string, ports ...corev1.ServicePort) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "s"}, Spec: corev1.ServiceSpec{ClusterIP: clusterIP, Ports: ports}}
	}
	pod := func(name string) *corev1.ObjectReference {
		return &corev1.ObjectReference{Kind: "Pod", Namespace: "n", Name: name}
	}
	slice := discoveryv1.EndpointSlice{
		Ports: []discoveryv1.EndpointPort{{Name: text("web"), Port: num(8080)}, {Name: text("metrics"), Port: num(9102)}},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.0.0.1"}, TargetRef: pod("s-0"), Hostname: text("s-0")},
			{Addresses: []string{"10.0.0.2"}, Conditions: discoveryv1.EndpointConditions{Ready: &no}, TargetRef: pod("s-1"), Hostname: text("s-1")},
			{Addresses: []string{"10.0.0.3"}, Conditions: discoveryv1.EndpointConditions{Ready: &yes}},
		},
	}
	web := corev1.ServicePort{Name: "web", Port: 80}
	metrics := corev1.ServicePort{Name: "metrics", Port: 9090}
	for name, tc := range map[string]struct {
		service  *corev1.Service
		hostname string
		port     int32
		want     []target
	}{
		"port by name":       {service("10.9.0.1", web, metrics), "", 80, []target{{"10.0.0.1", 8080, "n", "s-0"}, {"10.0.0.3", 8080, "", ""}}},
		"the other port":     {service("10.9.0.1", web, metrics), "", 9090, []target{{"10.0.0.1", 9102, "n", "s-0"}, {"10.0.0.3", 9102, "", ""}}},
		"no such port":       {service("10.9.0.1", web), "", 8080, nil},
		"UDP is another":     {service("10.9.0.1", corev1.ServicePort{Name: "web", Port: 80, Protocol: corev1.ProtocolUDP}), "", 80, nil},
		"headless, any port": {service(corev1.ClusterIPNone), "", 5432, []target{{"10.0.0.1", 5432, "n", "s-0"}, {"10.0.0.3", 5432, "", ""}}},
		"one of them":        {service(corev1.ClusterIPNone), "s-0", 5432, []target{{"10.0.0.1", 5432, "n", "s-0"}}},
		"one not ready":      {service(corev1.ClusterIPNone), "s-1", 5432, nil},
	} {
		got, err := choose(tc.service, []discoveryv1.EndpointSlice{slice}, tc.hostname, tc.port)
		if (err == nil) != (tc.want != nil) {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(tc.want, got, cmp.AllowUnexported(target{})); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}
