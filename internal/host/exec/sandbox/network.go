//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// interfacePrefix begins the name of the host's side of every sandbox's link.
// The firewall's rules are about all interfaces with this prefix, so opening a
// session changes no rule.
const interfacePrefix = "pnci"

// connect links the network namespace of the process pid with the host: one
// veth pair per sandbox, routed, no bridge. Two sandboxes share no segment, so
// neither can answer for the other's address, and the kernel drops packets
// whose source is not the sandbox's own (strict reverse path filter).
func connect(pid int, ns netns.NsHandle, s slot, subnet netip.Prefix) error {
	name, addr, gw := s.interfaceName(), s.address(subnet), gateway(subnet)
	if old, err := netlink.LinkByName(name); err == nil {
		// Its sandbox is gone, for we hold the slot; the kernel is late.
		if err := netlink.LinkDel(old); err != nil {
			return fmt.Errorf("remove old interface %s: %w", name, err)
		}
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	attrs.MTU = defaultMTU()
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsPid(pid)}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("make interface %s: %w", name, err)
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find interface %s: %w", name, err)
	}
	for _, kv := range [][2]string{
		{"ipv4/conf/" + name + "/rp_filter", "1"},
		{"ipv6/conf/" + name + "/disable_ipv6", "1"},
	} {
		err := os.WriteFile("/proc/sys/net/"+kv[0], []byte(kv[1]), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without IPv6
			return fmt.Errorf("set %s: %w", kv[0], err)
		}
	}
	if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: single(gw), Scope: int(netlink.SCOPE_LINK)}); err != nil {
		return fmt.Errorf("give %s its address: %w", name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("raise %s: %w", name, err)
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: single(addr), Scope: netlink.SCOPE_LINK}); err != nil {
		return fmt.Errorf("route to %s: %w", addr, err)
	}
	if err := connectInside(ns, addr, gw); err != nil {
		return fmt.Errorf("set up the network inside: %w", err)
	}
	return nil
}

// disconnect removes the interface of the slot.
func disconnect(s slot) error {
	link, err := netlink.LinkByName(s.interfaceName())
	if err == nil {
		err = netlink.LinkDel(link)
	}
	var gone netlink.LinkNotFoundError
	if err != nil && !errors.As(err, &gone) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove interface %s: %w", s.interfaceName(), err)
	}
	return nil
}

func connectInside(ns netns.NsHandle, addr, gw netip.Addr) error {
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := h.LinkSetUp(lo); err != nil {
		return err
	}
	link, err := h.LinkByName("eth0")
	if err != nil {
		return err
	}
	if err := h.AddrAdd(link, &netlink.Addr{IPNet: single(addr)}); err != nil {
		return err
	}
	if err := h.LinkSetUp(link); err != nil {
		return err
	}
	return h.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: gw.AsSlice(), Flags: int(netlink.FLAG_ONLINK)})
}

func single(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}

// defaultMTU is the one of the way out: a larger one would leave the sandbox
// with connections that stall where path MTU discovery does not work.
func defaultMTU() int {
	const usual = 1500
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return usual
	}
	for _, r := range routes {
		if r.Dst != nil && r.Dst.IP != nil && !r.Dst.IP.IsUnspecified() {
			continue
		}
		if link, err := netlink.LinkByIndex(r.LinkIndex); err == nil && link.Attrs().MTU > 0 {
			return link.Attrs().MTU
		}
	}
	return usual
}

// inNetwork runs f on a thread inside the network namespace. Sockets that f
// makes stay there and may be used from any thread.
func inNetwork(ns netns.NsHandle, f func() error) error {
	return onOwnThread(func() error {
		if err := netns.Set(ns); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return f()
	})
}
