//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// A private network is a bridge in a network namespace of its own, where no
// process runs, and a second interface in each of its sessions. Nothing of it
// is in the machine's own network, so no rule and no address there has to
// change, and it ends with the last process that knows it, however that ends.
// All private networks have the same addresses, the last of the sandboxes'
// own: they never meet.
type peers struct {
	subnet netip.Prefix
	ns     netns.NsHandle
	bridge int // index

	mu    sync.Mutex
	used  map[netip.Addr]bool
	names map[string]netip.Addr
}

// networks of one process, by name.
type privateNetworks struct {
	mu   sync.Mutex
	open map[string]*openPeers
}

type openPeers struct {
	*peers
	members int
}

var validNetwork = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)
var validName = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_.-]{0,61}[a-z0-9_])?$`)

// peerSubnet is the part of the sandboxes' addresses that private networks use.
// Slots do not reach that far.
func peerSubnet(of netip.Prefix) netip.Prefix {
	last := of.Masked().Addr().As4()
	bits := min(max(of.Bits(), 24), 30)
	for i := of.Bits(); i < bits; i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	return netip.PrefixFrom(netip.AddrFrom4(last), bits)
}

// join makes the session a member of the network that its spec names.
func (n *privateNetworks) join(s *session, ns netns.NsHandle) (err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.open[s.spec.Network]
	if p == nil {
		made, err := newPeers(peerSubnet(s.r.o.Subnet))
		if err != nil {
			return fmt.Errorf("make private network: %w", err)
		}
		if n.open == nil {
			n.open = map[string]*openPeers{}
		}
		p = &openPeers{peers: made}
		n.open[s.spec.Network] = p
	}
	p.members++
	s.peers = p.peers
	s.peerAddr, err = p.add(ns, s.spec.Names)
	if err != nil {
		return fmt.Errorf("join private network %s: %w", s.spec.Network, err)
	}
	return nil
}

// leave ends the session's membership, and the network with the last one.
func (n *privateNetworks) leave(s *session) error {
	if s.peers == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.open[s.spec.Network]
	err := p.remove(s.peerAddr, s.spec.Names)
	if p.members--; p.members == 0 {
		delete(n.open, s.spec.Network)
		err = errors.Join(err, p.ns.Close())
	}
	return err
}

func newPeers(subnet netip.Prefix) (*peers, error) {
	p := &peers{subnet: subnet, used: map[netip.Addr]bool{}, names: map[string]netip.Addr{}}
	err := onOwnThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		p.ns, err = netns.Get()
		return err
	})
	if err != nil {
		return nil, err
	}
	h, err := netlink.NewHandleAt(p.ns, unix.NETLINK_ROUTE)
	if err == nil {
		defer h.Close()
		err = p.makeBridge(h)
	}
	if err != nil {
		return nil, errors.Join(err, p.ns.Close())
	}
	return p, nil
}

func (p *peers) makeBridge(h *netlink.Handle) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "bridge"
	if err := h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		return fmt.Errorf("make bridge: %w", err)
	}
	link, err := h.LinkByName(attrs.Name)
	if err != nil {
		return err
	}
	p.bridge = link.Attrs().Index
	return h.LinkSetUp(link)
}

// add connects the namespace and gives it an address and names.
func (p *peers) add(ns netns.NsHandle, names []string) (addr netip.Addr, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range names {
		if taken, ok := p.names[n]; ok {
			return netip.Addr{}, fmt.Errorf("the name %s %w: %s has it", n, problem.ErrExists, taken)
		}
	}
	if addr, err = p.free(); err != nil {
		return netip.Addr{}, err
	}
	h, err := netlink.NewHandleAt(p.ns, unix.NETLINK_ROUTE)
	if err != nil {
		return netip.Addr{}, err
	}
	defer h.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = portName(addr)
	attrs.MasterIndex = p.bridge
	// The hardware address follows from the other, so that neighbours need not
	// learn anew when an address goes to another session.
	mac := append(net.HardwareAddr{0x02, 0x42}, addr.AsSlice()...)
	if err := h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth1", PeerNamespace: netlink.NsFd(ns), PeerHardwareAddr: mac}); err != nil {
		return netip.Addr{}, fmt.Errorf("make interface: %w", err)
	}
	link, err := h.LinkByName(attrs.Name)
	if err == nil {
		err = h.LinkSetUp(link)
	}
	if err == nil {
		err = p.addInside(ns, addr)
	}
	if err != nil {
		return netip.Addr{}, fmt.Errorf("raise interface: %w", err)
	}
	p.used[addr] = true
	for _, n := range names {
		p.names[n] = addr
	}
	return addr, nil
}

func (p *peers) addInside(ns netns.NsHandle, addr netip.Addr) error {
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName("eth1")
	if err != nil {
		return err
	}
	ip := &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(p.subnet.Bits(), 32)}
	if err := h.AddrAdd(link, &netlink.Addr{IPNet: ip}); err != nil {
		return err
	}
	return h.LinkSetUp(link)
}

func (p *peers) free() (netip.Addr, error) {
	first := p.subnet.Masked().Addr().Next()
	for a := first; p.subnet.Contains(a.Next()); a = a.Next() {
		if !p.used[a] {
			return a, nil
		}
	}
	return netip.Addr{}, errors.New("all of its addresses are in use")
}

func portName(addr netip.Addr) string {
	a := addr.As4()
	return "port" + strconv.Itoa(int(a[3]))
}

// remove forgets a member. Its interface is in our hands as well as in those
// of its namespace.
func (p *peers) remove(addr netip.Addr, names []string) error {
	if !addr.IsValid() {
		return nil // it never became one
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range names {
		delete(p.names, n)
	}
	delete(p.used, addr)
	h, err := netlink.NewHandleAt(p.ns, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName(portName(addr))
	if err == nil {
		err = h.LinkDel(link)
	}
	var gone netlink.LinkNotFoundError
	if err != nil && !errors.As(err, &gone) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove interface of private network: %w", err)
	}
	return nil
}

// lookup finds a member by name.
func (p *peers) lookup(name string) (netip.Addr, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, ok := p.names[strings.ToLower(name)]
	return a, ok
}
