// Package network owns the node's part of the machine's network: the bridge
// whose address is the node's, the switches that routing needs, and one small
// set of packet filter rules. Everything is made anew at each start if it is
// missing and removed by Remove.
package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"

	"github.com/penstock-dev/penstock/node/internal/fault"
)

// Setup makes the bridge and the rules. owner tells this node's bridge from
// another's.
func Setup(ctx context.Context, p Plan, owner string, bridgeNF bool, log *slog.Logger) error {
	if err := checkRoutes(p); err != nil {
		return err
	}
	if err := bridge(p, owner); err != nil {
		return err
	}
	if err := sysctl("net/ipv4/ip_forward", "1"); err != nil {
		return err
	}
	if bridgeNF {
		if err := sysctl("net/bridge/bridge-nf-call-iptables", "1"); err != nil {
			return err
		}
	} else {
		log.Warn("bridged packets do not pass through iptables, so services see the node's address as the client's", "hint", "modprobe br_netfilter")
	}
	return addRules(ctx, p)
}

// MTU is what Pods' interfaces get: that of the interface with the default
// route, so that their packets leave the machine whole.
func MTU() int {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return 1500
	}
	for _, r := range routes {
		if r.Dst != nil && r.Dst.IP != nil && !r.Dst.IP.IsUnspecified() {
			continue
		}
		if l, err := netlink.LinkByIndex(r.LinkIndex); err == nil && l.Attrs().MTU >= 576 {
			return l.Attrs().MTU
		}
	}
	return 1500
}

func checkRoutes(p Plan) error {
	list, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	var routes []route
	for _, r := range list {
		if r.Dst == nil {
			continue
		}
		addr, ok := netip.AddrFromSlice(r.Dst.IP.To4())
		ones, _ := r.Dst.Mask.Size()
		if !ok {
			continue
		}
		name := fmt.Sprint("interface ", r.LinkIndex)
		if l, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
			name = l.Attrs().Name
		}
		routes = append(routes, route{netip.PrefixFrom(addr, ones), name})
	}
	if c, found := p.conflict(routes); found {
		return &fault.Error{Op: "set up the network", Err: fmt.Errorf("the range %s is in use by %s", c.dst, c.link),
			Hint: "choose free ranges with --pod-cidr and --service-cidr"}
	}
	return nil
}

func bridge(p Plan, owner string) error {
	link, err := netlink.LinkByName(p.Bridge)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		a := netlink.NewLinkAttrs()
		a.Name, a.MTU = p.Bridge, MTU()
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: a}); err != nil {
			return fmt.Errorf("create the bridge %s: %w", p.Bridge, err)
		}
		if link, err = netlink.LinkByName(p.Bridge); err == nil {
			err = netlink.LinkSetAlias(link, owner)
		}
	}
	if err != nil {
		return fmt.Errorf("find the bridge %s: %w", p.Bridge, err)
	}
	if link.Type() != "bridge" || (link.Attrs().Alias != "" && link.Attrs().Alias != owner) {
		return &fault.Error{Op: "set up the network", Err: fmt.Errorf("the interface %s belongs to somebody else (%s)", p.Bridge, link.Attrs().Alias),
			Hint: "stop that node, or choose other names with --bridge, --pod-cidr and --service-cidr"}
	}
	want := &net.IPNet{IP: p.Node.AsSlice(), Mask: net.CIDRMask(p.Pods.Bits(), 32)}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list the addresses of %s: %w", p.Bridge, err)
	}
	have := false
	for _, a := range addrs {
		have = have || a.IPNet.String() == want.String()
	}
	if !have {
		if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: want}); err != nil {
			return fmt.Errorf("give %s the address %s: %w", p.Bridge, want, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring up %s: %w", p.Bridge, err)
	}
	if err := serviceRoute(p, link); err != nil {
		return err
	}
	// Router advertisements from inside a Pod must not configure the machine.
	err = sysctl("net/ipv6/conf/"+p.Bridge+"/accept_ra", "0")
	if errors.Is(err, fs.ErrNotExist) {
		return nil // no IPv6 here
	}
	return err
}

// serviceRoute lets this machine's own programs reach Services without a
// default route (a laptop without a network): before the packet filter can
// translate a Service's address, the kernel must find some way to it. With a
// default route it also keeps addresses of no Service from leaving the machine.
func serviceRoute(p Plan, bridge netlink.Link) error {
	r := &netlink.Route{
		LinkIndex: bridge.Attrs().Index, Scope: netlink.SCOPE_LINK, Src: p.Node.AsSlice(),
		Dst: &net.IPNet{IP: p.Services.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Services.Bits(), 32)},
	}
	if err := netlink.RouteReplace(r); err != nil {
		return fmt.Errorf("route Services through %s: %w", p.Bridge, err)
	}
	return nil
}

func sysctl(name, value string) error {
	path := "/proc/sys/" + name
	if b, err := os.ReadFile(path); err == nil && len(b) > 0 && string(b[:len(b)-1]) == value {
		return nil
	}
	if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
		return &fault.Error{Op: "set up the network", Err: fmt.Errorf("set %s to %s: %w", name, value, err),
			Hint: "set it on the host when this runs in a container: sysctl -w " + name + "=" + value}
	}
	return nil
}

// Owned says whether the bridge is there and belongs to owner.
func Owned(bridge, owner string) (bool, error) {
	link, err := netlink.LinkByName(bridge)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("find the bridge %s: %w", bridge, err)
	}
	return link.Attrs().Alias == owner, nil
}

// Remove takes the rules, the interfaces on the bridge and the bridge away. The
// bridge is last: while it is there, an interrupted removal can be repeated.
func Remove(ctx context.Context, bridge string) error {
	errs := []error{removeRules(ctx)}
	link, err := netlink.LinkByName(bridge)
	if err != nil {
		return errors.Join(append(errs, fmt.Errorf("find the bridge %s: %w", bridge, err))...)
	}
	links, err := netlink.LinkList()
	if err != nil {
		errs = append(errs, fmt.Errorf("list interfaces: %w", err))
	}
	for _, l := range links {
		if l.Attrs().MasterIndex == link.Attrs().Index {
			if err := netlink.LinkDel(l); err != nil && !errors.As(err, new(netlink.LinkNotFoundError)) {
				errs = append(errs, fmt.Errorf("remove %s: %w", l.Attrs().Name, err))
			}
		}
	}
	if err := netlink.LinkDel(link); err != nil {
		errs = append(errs, fmt.Errorf("remove %s: %w", bridge, err))
	}
	return errors.Join(errs...)
}
