package route

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
)

// Class is the ingress class that the gateway serves, beside none.
const Class = "penstock"

const classAnnotation = "kubernetes.io/ingress.class"

// Served says whether the gateway serves an Ingress; class names the one it
// asks for.
func Served(in *networkingv1.Ingress) (served bool, class string) {
	switch {
	case in.Spec.IngressClassName != nil:
		class = *in.Spec.IngressClassName
	default:
		class = in.Annotations[classAnnotation]
	}
	return class == "" || class == Class, class
}

// addIngresses merges the rules of all Ingresses. Where two claim the same
// path of the same host, the older one has it and the other gets a notice.
func (b *builder) addIngresses(all []*networkingv1.Ingress) {
	all = slices.Clone(all)
	slices.SortFunc(all, func(x, y *networkingv1.Ingress) int {
		return cmp.Or(
			x.CreationTimestamp.Compare(y.CreationTimestamp.Time),
			cmp.Compare(x.Namespace, y.Namespace),
			cmp.Compare(x.Name, y.Name))
	})
	for _, in := range all {
		object := "Ingress " + in.Namespace + "/" + in.Name
		if served, class := Served(in); !served {
			b.notice(object, "it asks for the class "+strconv.Quote(class)+"; the gateway serves only the class "+Class+" or none")
			continue
		}
		b.addIngress(in, object)
	}
	if h := b.table.AnyHost; h != nil {
		h.sort()
	}
	for _, h := range b.table.Hosts {
		h.sort()
	}
}

func (b *builder) addIngress(in *networkingv1.Ingress, object string) {
	if len(in.Spec.TLS) > 0 {
		b.notice(object, "tls has no effect: the gateway answers over plain HTTP")
	}
	for a := range in.Annotations {
		if strings.Contains(a, "ingress.kubernetes.io/") {
			b.notice(object, "the annotation "+a+" has no effect")
		}
	}
	source := in.Namespace + "/" + in.Name
	fallback := ""
	if in.Spec.DefaultBackend != nil {
		fallback = b.ingressBackend(in.Namespace, object, in.Spec.DefaultBackend)
	}
	hosts := 0
	for i := range in.Spec.Rules {
		rule := &in.Spec.Rules[i]
		h := b.host(rule.Host, object)
		if h == nil {
			continue
		}
		if rule.Host != "" {
			hosts++
		}
		if fallback != "" && h.Default == "" {
			h.Default, h.Source = fallback, source
		}
		if rule.HTTP == nil {
			continue
		}
		for j := range rule.HTTP.Paths {
			p := &rule.HTTP.Paths[j]
			if id := b.ingressBackend(in.Namespace, object, &p.Backend); id != "" {
				b.addRule(h, rule.Host, object, Rule{
					Path:    cmp.Or(p.Path, "/"),
					Exact:   p.PathType != nil && *p.PathType == networkingv1.PathTypeExact,
					Backend: id,
					Source:  source,
				})
			}
		}
	}
	if fallback != "" && hosts == 0 {
		if h := b.host("", object); h.Default == "" {
			h.Default, h.Source = fallback, source
		} else if h.Source != source {
			b.notice(object, "its default backend is not used: Ingress "+h.Source+" is older and has one")
		}
	}
}

// host returns the entry for the host of a rule, or nil when it is not one.
func (b *builder) host(name, object string) *Host {
	if name == "" {
		if b.table.AnyHost == nil {
			b.table.AnyHost = &Host{}
		}
		return b.table.AnyHost
	}
	plain, wild := strings.CutPrefix(name, "*.")
	parsed, ok := ParseHost(plain)
	if !ok {
		b.notice(object, "the host "+strconv.Quote(name)+" is not a host name")
		return nil
	}
	if wild {
		parsed = "*." + parsed
	}
	h := b.table.Hosts[parsed]
	if h == nil {
		h = &Host{}
		b.table.Hosts[parsed] = h
	}
	return h
}

func (b *builder) addRule(h *Host, host, object string, r Rule) {
	for i := range h.Rules {
		if o := &h.Rules[i]; o.Path == r.Path && o.Exact == r.Exact {
			if o.Source != r.Source || o.Backend != r.Backend {
				b.notice(object, "its rule for "+cmp.Or(host, "any host")+r.Path+" is not used: Ingress "+o.Source+" has the same rule and comes first")
			}
			return
		}
	}
	h.Rules = append(h.Rules, r)
}

// sort puts the rule that matches first at the front: exact before prefix for
// the same path, longer paths before shorter ones.
func (h *Host) sort() {
	slices.SortStableFunc(h.Rules, func(x, y Rule) int {
		if c := cmp.Compare(len(y.Path), len(x.Path)); c != 0 {
			return c
		}
		if c := cmp.Compare(x.Path, y.Path); c != 0 {
			return c
		}
		if x.Exact != y.Exact {
			if x.Exact {
				return -1
			}
			return 1
		}
		return 0
	})
}

// ingressBackend resolves a backend of an Ingress to the key of a backend, or
// returns "" after a notice. A Service that is not there yet gives a backend
// without endpoints, so that the host answers 503 and not another's page.
func (b *builder) ingressBackend(namespace, object string, in *networkingv1.IngressBackend) string {
	if in.Service == nil {
		b.notice(object, "a backend is a resource, not a Service: not served")
		return ""
	}
	k := key{namespace, in.Service.Name}
	want := in.Service.Port
	label := want.Name
	if label == "" {
		label = strconv.Itoa(int(want.Number))
	}
	missing := func(why string) string {
		id := k.String() + ":" + label
		if b.table.Backends[id] == nil {
			b.table.Backends[id] = &Backend{Why: why}
		}
		b.notice(object, "Service "+k.String()+": "+why)
		return id
	}
	s := b.services[k]
	if s == nil {
		return missing("it does not exist")
	}
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if (want.Name != "" && p.Name == want.Name) || (want.Name == "" && p.Port == want.Number) {
			id, why := b.backend(k, p)
			if why != "" {
				return missing(why)
			}
			return id
		}
	}
	return missing("it has no port " + label)
}
