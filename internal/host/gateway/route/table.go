// Package route decides where a request goes. It turns Services,
// EndpointSlices and Ingresses into a [Table] and looks hosts and paths up in
// it. It is pure: no clock, no network, no clients; the same objects always
// give the same table, and a table survives a round trip through JSON, which is
// how the gateway keeps the last good one on disk.
//
// A host is resolved in this order:
//
//  0. rules of HTTPRoutes that name the host, have a wildcard for it or no
//     host, the most specific first;
//  1. Ingress rules that name the host, then those with a matching wildcard;
//  2. <service>.<namespace>.<domain>;
//  3. <service>.<domain>, when exactly one namespace has such a Service;
//  4. Ingress rules without a host, then default backends.
package route

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
)

// Version is the version of the table's form on disk.
const Version = 1

// Table is everything the gateway needs to route requests.
type Table struct {
	Version int              `json:"version"`
	Domain  string           `json:"domain"`            // "localhost"
	Hosts   map[string]*Host `json:"hosts,omitempty"`   // exact hosts of Ingress rules; "*.x" for wildcards
	AnyHost *Host            `json:"anyHost,omitempty"` // Ingress rules without a host
	// HTTP holds the rules of HTTPRoutes, the first to match first, by host:
	// exact, "*.x" for any number of labels, or "" for any host.
	HTTP     map[string][]HTTPMatcher `json:"http,omitempty"`
	Services map[string]*Service      `json:"services,omitempty"` // by "<service>.<namespace>"
	Names    map[string][]string      `json:"names,omitempty"`    // service name -> namespaces, sorted
	Backends map[string]*Backend      `json:"backends,omitempty"` // by key, "<namespace>/<service>:<port>"
	Notices  []Notice                 `json:"notices,omitempty"`  // what was not taken, and why
}

// Host holds the Ingress rules for one host.
type Host struct {
	Rules   []Rule `json:"rules,omitempty"`   // most specific first
	Default string `json:"default,omitempty"` // backend when no rule matches; may be empty
	Source  string `json:"source,omitempty"`  // the Ingress that gave Default
}

// Rule sends the paths it matches to a backend.
type Rule struct {
	Path    string `json:"path"`
	Exact   bool   `json:"exact,omitempty"`
	Backend string `json:"backend"`
	Source  string `json:"source"` // "namespace/name" of the Ingress
}

// Service is a Service that answers under its own name.
type Service struct {
	Backend string `json:"backend,omitempty"`
	Why     string `json:"why,omitempty"` // why there is no backend
}

// Backend is one port of one Service with the endpoints that may get requests.
type Backend struct {
	Endpoints []string `json:"endpoints,omitempty"` // "address:port", sorted
	H2C       bool     `json:"h2c,omitempty"`       // speaks HTTP/2 without TLS
	Why       string   `json:"why,omitempty"`       // why there are no endpoints
}

// Notice says that something in an object has no effect here.
type Notice struct {
	Object  string `json:"object"` // "Ingress shop/web"
	Message string `json:"message"`
}

// Match is the outcome of a successful lookup.
type Match struct {
	Backend string  // key in Table.Backends
	Action  *Action // of an HTTPRoute, instead of Backend
	Source  string  // what decided: "Ingress shop/web", "Service shop/web"
}

// Miss says why a lookup found nothing.
type Miss struct {
	Reason     string
	Candidates []string // hosts that would have been found
}

// Empty returns a table without routes.
func Empty(domain string) *Table { return &Table{Version: Version, Domain: domain} }

// Lookup finds the backend for a normalised host (see [ParseHost]) and path.
func (t *Table) Lookup(host, path string) (Match, *Miss) {
	m, miss := t.lookupNamed(host, path)
	if miss == nil {
		return m, nil
	}
	if t.AnyHost != nil {
		if m, anyMiss := t.AnyHost.lookup(host, path); anyMiss == nil {
			return m, nil
		}
	}
	return Match{}, miss
}

// lookupNamed stops at the first source that has the host: a host of an Ingress
// whose rules do not match the path is not looked up among the Services.
func (t *Table) lookupNamed(host, path string) (Match, *Miss) {
	if h, ok := t.Hosts[host]; ok {
		return h.lookup(host, path)
	}
	if _, rest, ok := strings.Cut(host, "."); ok {
		if h, ok := t.Hosts["*."+rest]; ok {
			return h.lookup(host, path)
		}
	}
	return t.lookupService(host)
}

func (h *Host) lookup(host, path string) (Match, *Miss) {
	for i := range h.Rules {
		if r := &h.Rules[i]; r.matches(path) {
			return Match{Backend: r.Backend, Source: "Ingress " + r.Source}, nil
		}
	}
	if h.Default != "" {
		return Match{Backend: h.Default, Source: "Ingress " + h.Source}, nil
	}
	return Match{}, &Miss{Reason: "no Ingress rule of host " + host + " matches this path"}
}

// matches compares whole path elements: the prefix /a matches /a and /a/b, not
// /ab.
func (r *Rule) matches(path string) bool {
	if r.Exact {
		return path == r.Path
	}
	prefix := strings.TrimSuffix(r.Path, "/")
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/')
}

func (t *Table) lookupService(host string) (Match, *Miss) {
	name, ok := strings.CutSuffix(host, "."+t.Domain)
	if !ok || strings.Count(name, ".") > 1 {
		return Match{}, &Miss{Reason: "no route has the host " + host}
	}
	service, namespace, named := strings.Cut(name, ".")
	if !named {
		in := t.Names[service]
		switch len(in) {
		case 0:
			return Match{}, &Miss{Reason: "there is no Service and no Ingress for " + host}
		case 1:
			namespace = in[0]
		default:
			miss := &Miss{Reason: "several namespaces have a Service " + service}
			for _, ns := range in {
				miss.Candidates = append(miss.Candidates, service+"."+ns+"."+t.Domain)
			}
			return Match{}, miss
		}
	}
	s := t.Services[service+"."+namespace]
	if s == nil {
		miss := &Miss{Reason: "there is no Service " + service + " in namespace " + namespace}
		for _, ns := range t.Names[service] {
			miss.Candidates = append(miss.Candidates, service+"."+ns+"."+t.Domain)
		}
		return Match{}, miss
	}
	if s.Backend == "" {
		return Match{}, &Miss{Reason: "Service " + namespace + "/" + service + ": " + s.Why}
	}
	return Match{Backend: s.Backend, Source: "Service " + namespace + "/" + service}, nil
}

// HostNames lists what can be asked for: hosts of Ingresses and the shortest
// unambiguous names of Services, sorted.
func (t *Table) HostNames() []string {
	var out []string
	for h := range t.Hosts {
		out = append(out, h)
	}
	for h := range t.HTTP {
		if h != "" {
			out = append(out, h)
		}
	}
	for name, in := range t.Names {
		for _, ns := range in {
			s := t.Services[name+"."+ns]
			if s == nil || s.Backend == "" {
				continue
			}
			if len(in) == 1 {
				out = append(out, name+"."+t.Domain)
			} else {
				out = append(out, name+"."+ns+"."+t.Domain)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Check says whether a table read from a disk can be used for domain.
func (t *Table) Check(domain string) error {
	switch {
	case t.Version != Version:
		return fmt.Errorf("it has version %d, not %d", t.Version, Version)
	case t.Domain != domain:
		return fmt.Errorf("it is for the domain %q, not %q", t.Domain, domain)
	}
	for id, b := range t.Backends {
		if b == nil {
			return fmt.Errorf("backend %q is empty", id)
		}
		for _, e := range b.Endpoints {
			if _, err := netip.ParseAddrPort(e); err != nil {
				return fmt.Errorf("backend %q: %w", id, err)
			}
		}
	}
	for host, list := range t.HTTP {
		for i := range list {
			if list[i].Action == nil {
				return fmt.Errorf("a rule of host %q does nothing", host)
			}
		}
	}
	for host, h := range t.Hosts {
		if h == nil {
			return fmt.Errorf("host %q is empty", host)
		}
	}
	return nil
}

// Equal says whether two tables route alike and have the same notices.
func (t *Table) Equal(o *Table) bool { return reflect.DeepEqual(t, o) }
