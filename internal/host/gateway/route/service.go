package route

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// addService gives a Service its own name.
func (b *builder) addService(s *corev1.Service) {
	k := key{s.Namespace, s.Name}
	entry := &Service{}
	if port, why := mainPort(s); why != "" {
		entry.Why = why
	} else {
		entry.Backend, entry.Why = b.backend(k, port)
	}
	b.table.Services[s.Name+"."+s.Namespace] = entry
	b.table.Names[s.Name] = append(b.table.Names[s.Name], s.Namespace)
	if s.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		b.notice("Service "+k.String(), "sessionAffinity ClientIP has no effect in the gateway: requests are spread over all endpoints")
	}
}

// mainPort is the port that <service>.<namespace>.<domain> means: the only TCP
// port, else the one named http, else port 80.
func mainPort(s *corev1.Service) (port *corev1.ServicePort, why string) {
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		return nil, "it is of type ExternalName, which has no endpoints to send requests to"
	}
	var tcp []*corev1.ServicePort
	for i := range s.Spec.Ports {
		if p := &s.Spec.Ports[i]; p.Protocol == "" || p.Protocol == corev1.ProtocolTCP {
			tcp = append(tcp, p)
		}
	}
	switch len(tcp) {
	case 0:
		return nil, "it has no TCP port"
	case 1:
		return tcp[0], ""
	}
	for _, p := range tcp {
		if p.Name == "http" {
			return p, ""
		}
	}
	for _, p := range tcp {
		if p.Port == 80 {
			return p, ""
		}
	}
	var names []string
	for _, p := range tcp {
		names = append(names, portLabel(p))
	}
	return nil, "it has the ports " + strings.Join(names, ", ") + " and none is named http or is 80; name one http, or write an Ingress that picks one"
}

func portLabel(p *corev1.ServicePort) string {
	if p.Name != "" {
		return p.Name
	}
	return strconv.Itoa(int(p.Port))
}

// backend adds the backend of a Service's port to the table, once, and returns
// its key; why is set when the gateway cannot speak the port's protocol.
func (b *builder) backend(k key, port *corev1.ServicePort) (id, why string) {
	h2c := false
	switch proto := deref(port.AppProtocol); strings.ToLower(proto) {
	case "http", "tcp", "kubernetes.io/ws", "ws":
	case "":
		h2c = port.Name == "grpc" || strings.HasPrefix(port.Name, "grpc-")
	case "kubernetes.io/h2c", "h2c", "grpc", "http2":
		h2c = true
	default:
		return "", "the gateway does not speak appProtocol " + strconv.Quote(proto) + " of port " + portLabel(port) + "; it speaks http, kubernetes.io/ws, kubernetes.io/h2c and grpc"
	}
	id = k.String() + ":" + portLabel(port)
	if _, ok := b.table.Backends[id]; ok {
		return id, ""
	}
	be := &Backend{H2C: h2c}
	be.Endpoints, be.Why = usable(b.slices[k], port.Name)
	b.table.Backends[id] = be
	return id, ""
}

// usable lists the endpoints that get requests, as kube-proxy would choose
// them: those that are ready, or, when there is none, those that still serve
// while they terminate. IPv6 endpoints are taken where there are none of IPv4.
func usable(in []*discoveryv1.EndpointSlice, portName string) (endpoints []string, why string) {
	known, fqdn := 0, false
	for _, family := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
		var ready, terminating []string
		for _, s := range in {
			fqdn = fqdn || s.AddressType == discoveryv1.AddressTypeFQDN
			if s.AddressType != family {
				continue
			}
			port, ok := slicePort(s, portName)
			if !ok {
				continue
			}
			for i := range s.Endpoints {
				e := &s.Endpoints[i]
				addr, ok := endpointAddress(e, port)
				if !ok {
					continue
				}
				known++
				isReady := deref(e.Conditions.Ready) || e.Conditions.Ready == nil
				isServing := deref(e.Conditions.Serving) || e.Conditions.Serving == nil
				switch {
				case isReady:
					ready = append(ready, addr)
				case isServing && deref(e.Conditions.Terminating):
					terminating = append(terminating, addr)
				}
			}
		}
		if len(ready) == 0 {
			ready = terminating
		}
		if len(ready) > 0 {
			slices.Sort(ready)
			return slices.Compact(ready), ""
		}
	}
	switch {
	case known > 0:
		return nil, "none of its " + strconv.Itoa(known) + " endpoints is ready"
	case fqdn:
		return nil, "its endpoints are names, not addresses"
	}
	return nil, "it has no endpoints: no Pod matches its selector, or none has an address yet"
}

func slicePort(s *discoveryv1.EndpointSlice, name string) (int32, bool) {
	for _, p := range s.Ports {
		if deref(p.Name) == name && p.Port != nil && (p.Protocol == nil || *p.Protocol == corev1.ProtocolTCP) {
			return *p.Port, true
		}
	}
	return 0, false
}

// endpointAddress takes the first address: the others are the same endpoint.
func endpointAddress(e *discoveryv1.Endpoint, port int32) (string, bool) {
	if len(e.Addresses) == 0 || port < 1 || port > 65535 {
		return "", false
	}
	ip, err := netip.ParseAddr(e.Addresses[0])
	if err != nil {
		return "", false
	}
	return netip.AddrPortFrom(ip, uint16(port)).String(), true
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
