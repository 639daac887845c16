package route

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Reasons of the Gateway API for conditions that the gateway writes.
const (
	reasonAccepted    = "Accepted"
	reasonUnsupported = "UnsupportedValue"
	reasonNoParent    = "NoMatchingParent"
	reasonNotAllowed  = "NotAllowedByListeners"
	reasonNoHost      = "NoMatchingListenerHostname"
)

// served says whether a listener is one that the gateway can be.
func (l *Listener) served() (reason, why string) {
	switch {
	case l.Protocol != "HTTP":
		return "UnsupportedProtocol", "the gateway answers over plain HTTP; the protocol " + l.Protocol + " is not served"
	case len(l.TLS) > 0 && string(l.TLS) != "null":
		return reasonUnsupported, "tls is not served: the gateway answers over plain HTTP"
	}
	switch l.AllowedRoutes.Namespaces.From {
	case "", "Same", "All", "None":
	case "Selector":
		if _, err := metav1.LabelSelectorAsSelector(l.AllowedRoutes.Namespaces.Selector); err != nil {
			return reasonUnsupported, "allowedRoutes.namespaces.selector: " + err.Error()
		}
	default:
		return reasonUnsupported, "allowedRoutes.namespaces.from: " + l.AllowedRoutes.Namespaces.From + " is not served"
	}
	return "", ""
}

// kinds says whether HTTPRoutes may attach, and whether the listener names
// kinds that are not served.
func (l *Listener) kinds() (http, others bool) {
	if len(l.AllowedRoutes.Kinds) == 0 {
		return true, false
	}
	for _, k := range l.AllowedRoutes.Kinds {
		if k.Kind == "HTTPRoute" && (k.Group == nil || *k.Group == GatewayGroup) {
			http = true
		} else {
			others = true
		}
	}
	return http, others
}

// admits says whether a route in namespace may attach to the listener of a
// Gateway in home.
func (l *Listener) admits(home, namespace string, all map[string]map[string]string) bool {
	if http, _ := l.kinds(); !http {
		return false
	}
	switch l.AllowedRoutes.Namespaces.From {
	case "", "Same":
		return namespace == home
	case "All":
		return true
	case "Selector":
		s, err := metav1.LabelSelectorAsSelector(l.AllowedRoutes.Namespaces.Selector)
		return err == nil && s.Matches(labels.Set(all[namespace]))
	}
	return false
}

// hosts are the hosts for which a route with hostnames answers at a listener:
// those both have, the narrower of each two. "" is any.
func hosts(listener string, hostnames []string) []string {
	listener = strings.ToLower(listener)
	if len(hostnames) == 0 {
		return []string{listener}
	}
	var out []string
	for _, h := range hostnames {
		h = strings.ToLower(h)
		switch {
		case listener == "" || listener == h:
			out = append(out, h)
		case covers(listener, h):
			out = append(out, h)
		case covers(h, listener):
			out = append(out, listener)
		}
	}
	return out
}

// covers says whether the wildcard wide has host, or a wildcard below it.
func covers(wide, host string) bool {
	suffix, ok := strings.CutPrefix(wide, "*")
	if !ok {
		return false
	}
	narrow, isWild := strings.CutPrefix(host, "*")
	if isWild {
		return strings.HasSuffix(narrow, suffix) && narrow != suffix
	}
	return len(host) > len(suffix) && strings.HasSuffix(host, suffix)
}

// names says whether the reference is to a Gateway, in whose namespace.
func (p *ParentRef) names(home string) (k key, ok bool) {
	if deref(p.Kind) != "" && *p.Kind != "Gateway" || p.Group != nil && *p.Group != GatewayGroup {
		return key{}, false
	}
	if n := deref(p.Namespace); n != "" {
		home = n
	}
	return key{home, p.Name}, true
}

// means says whether the reference, beside naming the Gateway, is to this
// listener.
func (p *ParentRef) means(l *Listener) bool {
	return (p.SectionName == nil || *p.SectionName == "" || *p.SectionName == l.Name) && (p.Port == nil || *p.Port == l.Port)
}
