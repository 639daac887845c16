package network

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/penstock-dev/penstock/node/internal/fault"
)

// Plan is the node's addresses.
type Plan struct {
	Bridge   string
	Pods     netip.Prefix
	Services netip.Prefix
	Node     netip.Addr // first of Pods: the bridge, the node, the apiserver
	DNS      netip.Addr // tenth of Services
	API      netip.Addr // first of Services: the Service "kubernetes"
}

// NewPlan derives the addresses from the ranges.
func NewPlan(bridge, pods, services string) (Plan, error) {
	p := Plan{Bridge: bridge}
	var err error
	if p.Pods, err = prefix("--pod-cidr", pods, 24); err != nil {
		return p, err
	}
	if p.Services, err = prefix("--service-cidr", services, 24); err != nil {
		return p, err
	}
	if p.Pods.Overlaps(p.Services) {
		return p, fmt.Errorf("%w: --pod-cidr %s and --service-cidr %s overlap", fault.ErrUsage, pods, services)
	}
	// Interface names have at most 15 characters.
	if bridge == "" || len(bridge) > 15 {
		return p, fmt.Errorf("%w: --bridge %q is not the name of an interface (1 to 15 characters)", fault.ErrUsage, bridge)
	}
	p.Node = p.Pods.Addr().Next()
	p.API = p.Services.Addr().Next()
	p.DNS = p.Services.Addr()
	for range 10 {
		p.DNS = p.DNS.Next()
	}
	return p, nil
}

func prefix(flag, s string, longest int) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
	case !p.Addr().Is4():
		err = errors.New("only IPv4 is supported")
	case p.Masked() != p:
		err = fmt.Errorf("its first address is %s", p.Masked().Addr())
	case p.Bits() > longest:
		err = fmt.Errorf("it needs at least a /%d", longest)
	}
	if err != nil {
		return p, fmt.Errorf("%w: %s %q: %w", fault.ErrUsage, flag, s, err)
	}
	return p, nil
}

// route is what an overlap is looked for in: a destination and its interface.
type route struct {
	dst  netip.Prefix
	link string
}

// conflict returns the first route of another interface inside the plan.
func (p Plan) conflict(routes []route) (route, bool) {
	for _, r := range routes {
		if r.dst.Bits() == 0 || r.link == p.Bridge {
			continue
		}
		if r.dst.Overlaps(p.Pods) || r.dst.Overlaps(p.Services) {
			return r, true
		}
	}
	return route{}, false
}
