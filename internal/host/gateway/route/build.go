package route

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// Objects is what a table is made from.
type Objects struct {
	Services  []*corev1.Service
	Slices    []*discoveryv1.EndpointSlice
	Ingresses []*networkingv1.Ingress
	Gateway   GatewayObjects
}

// Build makes the table for domain. It only reads the objects.
func Build(domain string, o Objects) *Table {
	t, _ := BuildWithStatus(domain, o)
	return t
}

// BuildWithStatus makes the table for domain, and says what the status of the
// Gateway API's objects is to be.
func BuildWithStatus(domain string, o Objects) (*Table, Status) {
	b := &builder{
		table: &Table{
			Version:  Version,
			Domain:   domain,
			Hosts:    map[string]*Host{},
			Services: map[string]*Service{},
			Names:    map[string][]string{},
			Backends: map[string]*Backend{},
		},
		services: make(map[key]*corev1.Service, len(o.Services)),
		slices:   make(map[key][]*discoveryv1.EndpointSlice, len(o.Services)),
		status:   newStatus(),
	}
	for _, s := range o.Services {
		b.services[key{s.Namespace, s.Name}] = s
	}
	for _, s := range o.Slices {
		if name := s.Labels[discoveryv1.LabelServiceName]; name != "" {
			k := key{s.Namespace, name}
			b.slices[k] = append(b.slices[k], s)
		}
	}
	for _, s := range sortedServices(o.Services) {
		b.addService(s)
	}
	b.addIngresses(o.Ingresses)
	b.addGateways(o.Gateway)
	slices.SortFunc(b.table.Notices, func(x, y Notice) int {
		return cmp.Or(cmp.Compare(x.Object, y.Object), cmp.Compare(x.Message, y.Message))
	})
	b.table.Notices = slices.Compact(b.table.Notices)
	return b.table, b.status
}

type key struct{ namespace, name string }

func (k key) String() string { return k.namespace + "/" + k.name }

type builder struct {
	table    *Table
	services map[key]*corev1.Service
	slices   map[key][]*discoveryv1.EndpointSlice
	grants   []*ReferenceGrant
	status   Status
}

func (b *builder) notice(object, message string) {
	b.table.Notices = append(b.table.Notices, Notice{Object: object, Message: message})
}

func sortedServices(in []*corev1.Service) []*corev1.Service {
	out := slices.Clone(in)
	slices.SortFunc(out, func(x, y *corev1.Service) int {
		return cmp.Or(cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name))
	})
	return out
}
