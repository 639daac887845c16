package route

import (
	"cmp"
	"slices"
)

// Status is what the status of the Gateway API's objects is to be, by
// "namespace/name" (of GatewayClasses: name). It is a plan: the writer adds the
// times and what other controllers have written.
type Status struct {
	Classes  map[string]ObjectStatus
	Gateways map[string]GatewayStatus
	Routes   map[string]AtParents
}

// ObjectStatus are the conditions of an object at a generation.
type ObjectStatus struct {
	Generation int64
	Conditions []Condition
}

// GatewayStatus is the status of a Gateway.
type GatewayStatus struct {
	ObjectStatus
	Listeners []ListenerStatus
}

// ListenerStatus is the status of a listener.
type ListenerStatus struct {
	Name       string
	Kinds      bool // HTTPRoute is among those that may attach
	Attached   int32
	Conditions []Condition
}

// AtParents is the status of an HTTPRoute at the parents that are ours.
type AtParents struct {
	Generation int64
	Parents    []ParentStatus
}

// ParentStatus is the status of a route at a parent.
type ParentStatus struct {
	Parent     ParentRef
	Conditions []Condition
}

// Condition is a metav1.Condition without times.
type Condition struct{ Type, Status, Reason, Message string }

func newStatus() Status {
	return Status{Classes: map[string]ObjectStatus{}, Gateways: map[string]GatewayStatus{}, Routes: map[string]AtParents{}}
}

// gatewayState is a Gateway while routes attach.
type gatewayState struct {
	*Gateway
	attached map[string]int32 // by listener
}

func newGatewayState(g *Gateway) *gatewayState {
	return &gatewayState{Gateway: g, attached: map[string]int32{}}
}

func (s Status) class(c *GatewayClass) {
	accepted := Condition{"Accepted", "True", "Accepted", "the Penstock gateway serves it"}
	if len(c.Spec.ParametersRef) > 0 && string(c.Spec.ParametersRef) != "null" {
		accepted = Condition{"Accepted", "False", "InvalidParameters", "parametersRef is not served"}
	}
	s.Classes[c.Name] = ObjectStatus{c.Generation, []Condition{accepted}}
}

func (s Status) gateway(g *gatewayState) {
	out := GatewayStatus{ObjectStatus: ObjectStatus{Generation: g.Generation}}
	if g.Refused != "" {
		out.Conditions = []Condition{
			{"Accepted", "False", reasonUnsupported, g.Refused},
			{"Programmed", "False", "Invalid", g.Refused},
		}
		s.Gateways[g.Namespace+"/"+g.Name] = out
		return
	}
	valid, invalid := 0, 0
	for i := range g.Listeners {
		l := &g.Listeners[i]
		ls := ListenerStatus{Name: l.Name, Attached: g.attached[l.Name]}
		var others bool
		ls.Kinds, others = l.kinds()
		resolved := Condition{"ResolvedRefs", "True", "ResolvedRefs", "all references lead somewhere"}
		if others {
			resolved = Condition{"ResolvedRefs", "False", "InvalidRouteKinds", "only HTTPRoutes are served"}
		}
		if reason, why := l.served(); reason != "" {
			invalid++
			ls.Kinds = false
			ls.Conditions = []Condition{{"Accepted", "False", reason, why}, {"Programmed", "False", "Invalid", why}, resolved}
		} else {
			valid++
			ls.Conditions = []Condition{{"Accepted", "True", "Accepted", "served"}, {"Programmed", "True", "Programmed", "served"}, resolved}
		}
		out.Listeners = append(out.Listeners, ls)
	}
	switch {
	case valid == 0:
		out.Conditions = []Condition{
			{"Accepted", "False", "ListenersNotValid", "none of its listeners is served"},
			{"Programmed", "False", "Invalid", "none of its listeners is served"},
		}
	case invalid > 0:
		out.Conditions = []Condition{
			{"Accepted", "True", "ListenersNotValid", "some of its listeners are not served"},
			{"Programmed", "True", "Programmed", "served"},
		}
	default:
		out.Conditions = []Condition{
			{"Accepted", "True", "Accepted", "served"},
			{"Programmed", "True", "Programmed", "served"},
		}
	}
	s.Gateways[g.Namespace+"/"+g.Name] = out
}

func (s Status) parent(r *HTTPRoute, p ParentRef, conditions ...Condition) {
	name := r.Namespace + "/" + r.Name
	rs := s.Routes[name]
	rs.Generation = r.Generation
	rs.Parents = append(rs.Parents, ParentStatus{p, conditions})
	s.Routes[name] = rs
}

// Names lists the keys of a part of the status, sorted.
func Names[T any](m map[string]T) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.SortFunc(out, cmp.Compare[string])
	return out
}
