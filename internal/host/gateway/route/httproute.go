package route

import (
	"cmp"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"time"
)

// addGateways merges the rules of all HTTPRoutes into the table and collects
// what their status is to say.
func (b *builder) addGateways(o GatewayObjects) {
	ours := map[string]bool{}
	for _, c := range o.Classes {
		if c.Spec.ControllerName == Controller {
			ours[c.Name] = true
			b.status.class(c)
		}
	}
	gateways := map[key]*gatewayState{}
	for _, g := range o.Gateways {
		if ours[g.Class] {
			gateways[key{g.Namespace, g.Name}] = newGatewayState(g)
		}
	}
	b.grants = o.Grants
	routes := slices.Clone(o.Routes)
	slices.SortFunc(routes, func(x, y *HTTPRoute) int {
		return cmp.Or(
			x.CreationTimestamp.Compare(y.CreationTimestamp.Time),
			cmp.Compare(x.Namespace, y.Namespace),
			cmp.Compare(x.Name, y.Name))
	})
	for _, r := range routes {
		b.addHTTPRoute(r, gateways, o.Namespaces)
	}
	for _, list := range b.table.HTTP {
		sortMatchers(list)
	}
	for _, g := range gateways {
		b.status.gateway(g)
	}
}

// addHTTPRoute attaches a route to the Gateways it names.
func (b *builder) addHTTPRoute(r *HTTPRoute, gateways map[key]*gatewayState, namespaces map[string]map[string]string) {
	object := "HTTPRoute " + r.Namespace + "/" + r.Name
	var resolved Condition
	var keys []string
	served := false
	for i := range r.Parents {
		p := &r.Parents[i]
		k, ok := p.names(r.Namespace)
		g := gateways[k]
		if !ok || g == nil {
			continue // another controller's
		}
		if !served {
			served = true
			resolved = b.resolve(r)
		}
		accepted, at := b.attach(r, p, g, namespaces)
		if accepted.Status == "False" {
			b.notice(object, "it is not attached to Gateway "+k.String()+": "+accepted.Message)
		}
		keys = append(keys, at...)
		b.status.parent(r, *p, accepted, resolved)
	}
	if !served {
		return
	}
	if resolved.Status == "False" {
		b.notice(object, resolved.Message)
	}
	slices.Sort(keys)
	for _, host := range slices.Compact(keys) {
		if b.table.HTTP == nil {
			b.table.HTTP = map[string][]HTTPMatcher{}
		}
		for i := range r.Rules {
			b.table.HTTP[host] = append(b.table.HTTP[host], b.matchers(r, &r.Rules[i])...)
		}
	}
}

// attach decides whether a route is served by way of a parent, and for which
// hosts.
func (b *builder) attach(r *HTTPRoute, p *ParentRef, g *gatewayState, namespaces map[string]map[string]string) (Condition, []string) {
	no := func(reason, why string) (Condition, []string) {
		return Condition{Type: "Accepted", Status: "False", Reason: reason, Message: why}, nil
	}
	if r.Refused != "" {
		return no(reasonUnsupported, r.Refused)
	}
	if g.Refused != "" {
		return no(reasonNoParent, "the Gateway is not served: "+g.Refused)
	}
	var at []string
	found, admitted := false, false
	for i := range g.Listeners {
		l := &g.Listeners[i]
		if reason, _ := l.served(); reason != "" || !p.means(l) {
			continue
		}
		found = true
		if !l.admits(g.Namespace, r.Namespace, namespaces) {
			continue
		}
		admitted = true
		if h := hosts(l.Hostname, r.Hostnames); len(h) > 0 {
			at = append(at, h...)
			g.attached[l.Name]++
		}
	}
	switch {
	case !found:
		return no(reasonNoParent, "the Gateway has no such listener that is served")
	case !admitted:
		return no(reasonNotAllowed, "allowedRoutes of the listener does not admit it")
	case len(at) == 0:
		return no(reasonNoHost, "none of its hostnames is one of the listener")
	}
	return Condition{Type: "Accepted", Status: "True", Reason: reasonAccepted, Message: "served"}, at
}

// matchers turns a rule into one entry for each of its matches.
func (b *builder) matchers(r *HTTPRoute, rule *HTTPRule) []HTTPMatcher {
	matches := rule.Matches
	if len(matches) == 0 {
		matches = []HTTPMatch{{}}
	}
	out := make([]HTTPMatcher, 0, len(matches))
	for _, m := range matches {
		x := HTTPMatcher{Path: "/", Method: m.Method, Source: r.Namespace + "/" + r.Name}
		if m.Path != nil {
			x.Path = cmp.Or(m.Path.Value, "/")
			x.Exact = m.Path.Type == "Exact"
		}
		x.Headers = pairs(m.Headers, textproto.CanonicalMIMEHeaderKey)
		x.Query = pairs(m.Query, func(s string) string { return s })
		x.Action = b.action(r, rule, x.Path)
		out = append(out, x)
	}
	return out
}

// pairs takes the first of several matches of one name, as the API wants.
func pairs(in []valueMatch, name func(string) string) (out []NameValue) {
	for _, v := range in {
		n := name(v.Name)
		if !slices.ContainsFunc(out, func(o NameValue) bool { return o.Name == n }) {
			out = append(out, NameValue{n, v.Value})
		}
	}
	return out
}

// action is what the rule does with requests whose path matched by prefix.
func (b *builder) action(r *HTTPRoute, rule *HTTPRule, prefix string) *Action {
	a := &Action{Timeout: timeout(rule)}
	for i := range rule.Filters {
		f := &rule.Filters[i]
		switch {
		case f.RequestHeaders != nil:
			a.RequestHeaders = f.RequestHeaders.edit()
		case f.ResponseHeaders != nil:
			a.ResponseHeaders = f.ResponseHeaders.edit()
		case f.Redirect != nil:
			d := f.Redirect
			a.Redirect = &Redirect{Scheme: d.Scheme, Host: d.Hostname, Port: d.Port, Path: d.Path.edit(prefix), Code: cmp.Or(d.StatusCode, http.StatusFound)}
		case f.Rewrite != nil:
			a.Rewrite = &Rewrite{Host: f.Rewrite.Hostname, Path: f.Rewrite.Path.edit(prefix)}
		case f.Mirror != nil:
			if w, _ := b.backendRef(r, &f.Mirror.Backend); w.Backend != "" {
				m := Mirror{Backend: w.Backend, Numerator: 1, Denominator: 1}
				switch {
				case f.Mirror.Percent != nil:
					m.Numerator, m.Denominator = *f.Mirror.Percent, 100
				case f.Mirror.Fraction != nil:
					m.Numerator, m.Denominator = f.Mirror.Fraction.Numerator, 100
					if d := f.Mirror.Fraction.Denominator; d != nil {
						m.Denominator = *d
					}
				}
				a.Mirrors = append(a.Mirrors, m)
			}
		}
	}
	for i := range rule.Backends {
		w, _ := b.backendRef(r, &rule.Backends[i])
		a.Backends = append(a.Backends, w)
	}
	return a
}

// timeout is the shorter of the two: the gateway repeats only requests that
// reached no endpoint, so one to a backend is one as a whole. 0 is none.
func timeout(rule *HTTPRule) (d time.Duration) {
	for _, text := range []string{rule.Timeouts.Request, rule.Timeouts.BackendRequest} {
		if v, err := time.ParseDuration(text); err == nil && v > 0 && (d == 0 || v < d) {
			d = v
		}
	}
	return d
}

func (e *headerEdit) edit() *HeaderEdit {
	out := &HeaderEdit{Remove: e.Remove}
	for _, nv := range e.Set {
		out.Set = append(out.Set, NameValue(nv))
	}
	for _, nv := range e.Add {
		out.Add = append(out.Add, NameValue(nv))
	}
	return out
}

func (p *pathModifier) edit(prefix string) *PathEdit {
	switch {
	case p == nil:
		return nil
	case p.Full != nil:
		return &PathEdit{Full: true, Value: *p.Full}
	}
	return &PathEdit{Value: *p.Prefix, Prefix: prefix}
}

// backendRef resolves a reference to a backend of the table. A reference that
// leads nowhere has a reason.
func (b *builder) backendRef(r *HTTPRoute, ref *BackendRef) (w Weighted, reason string) {
	w.Weight = 1
	if ref.Weight != nil {
		w.Weight = max(*ref.Weight, 0)
	}
	if deref(ref.Group) != "" || ref.Kind != nil && *ref.Kind != "Service" {
		w.Why = "a backend is a " + deref(ref.Kind) + ", not a Service"
		return w, "InvalidKind"
	}
	k := key{r.Namespace, ref.Name}
	if n := deref(ref.Namespace); n != "" && n != r.Namespace {
		k.namespace = n
		if !b.granted(r.Namespace, k) {
			w.Why = "no ReferenceGrant in namespace " + n + " lets HTTPRoutes of " + r.Namespace + " name Service " + k.String()
			return w, "RefNotPermitted"
		}
	}
	s := b.services[k]
	if s == nil {
		w.Why = "Service " + k.String() + " does not exist"
		return w, "BackendNotFound"
	}
	if ref.Port == nil {
		w.Why = "the reference to Service " + k.String() + " names no port"
		return w, reasonUnsupported
	}
	for i := range s.Spec.Ports {
		if p := &s.Spec.Ports[i]; p.Port == *ref.Port {
			id, why := b.backend(k, p)
			if why != "" {
				w.Why = "Service " + k.String() + ": " + why
				return w, "UnsupportedProtocol"
			}
			w.Backend = id
			return w, ""
		}
	}
	w.Why = "Service " + k.String() + " has no port " + strconv.Itoa(int(*ref.Port))
	return w, "BackendNotFound"
}

// granted says whether a ReferenceGrant lets HTTPRoutes in namespace from name
// the Service.
func (b *builder) granted(from string, service key) bool {
	for _, g := range b.grants {
		if g.Namespace != service.namespace {
			continue
		}
		given := false
		for _, f := range g.Spec.From {
			given = given || f.Group == GatewayGroup && f.Kind == "HTTPRoute" && f.Namespace == from
		}
		for _, t := range g.Spec.To {
			if given && t.Group == "" && t.Kind == "Service" && (t.Name == nil || *t.Name == "" || *t.Name == service.name) {
				return true
			}
		}
	}
	return false
}

// resolve says whether all references of a route lead somewhere.
func (b *builder) resolve(r *HTTPRoute) Condition {
	for i := range r.Rules {
		refs := r.Rules[i].Backends
		for j := range r.Rules[i].Filters {
			if m := r.Rules[i].Filters[j].Mirror; m != nil {
				refs = append(refs[:len(refs):len(refs)], m.Backend)
			}
		}
		for j := range refs {
			if w, reason := b.backendRef(r, &refs[j]); reason != "" {
				return Condition{Type: "ResolvedRefs", Status: "False", Reason: reason, Message: w.Why}
			}
		}
	}
	return Condition{Type: "ResolvedRefs", Status: "True", Reason: "ResolvedRefs", Message: "all references lead to Services"}
}
