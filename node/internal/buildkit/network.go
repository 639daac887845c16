//go:build linux

package buildkit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	resourcestypes "github.com/moby/buildkit/executor/resources/types"
	"github.com/moby/buildkit/identity"
	bknetwork "github.com/moby/buildkit/util/network"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// network gives every RUN step a network namespace with one interface on a
// bridge of ours. Steps do not see each other (their ports are isolated) and,
// by the rules of firewall.go, nothing of this machine.
//
// It speaks netlink instead of calling CNI plugins: no process per step, and
// no address reservations on disk that a killed process would leave behind.
type network struct {
	o       Options
	dir     string // where the namespaces are pinned
	gateway netip.Addr

	mu     sync.Mutex
	used   map[netip.Addr]bool
	last   netip.Addr
	idle   []*namespace // to be used again: making and removing one takes longer than a short step
	closed bool
}

// maxIdle bounds how many namespaces wait for the next step.
const maxIdle = 4

func newNetwork(ctx context.Context, o Options) (*network, error) {
	n := &network{o: o, dir: netnsDir(o), gateway: o.Subnet.Addr().Next(), used: map[netip.Addr]bool{}}
	n.last = n.gateway
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory of build networks: %w", err)
	}
	if err := addBridge(o, n.gateway); err != nil {
		return nil, err
	}
	if err := addRules(ctx, o); err != nil {
		return nil, err // the caller cleans up
	}
	return n, nil
}

func netnsDir(o Options) string { return filepath.Join(o.Root, "netns") }

// bridgeMark is the alias of a bridge: it says whose it is.
func bridgeMark(o Options) string { return "penstock build " + o.Root }

// findBridge returns the bridge, nil when there is none. An interface of that
// name that is not this builder's is an error.
func findBridge(o Options) (netlink.Link, error) {
	br, err := netlink.LinkByName(o.Bridge)
	if err != nil {
		if _, ok := errors.AsType[netlink.LinkNotFoundError](err); ok {
			return nil, nil
		}
		return nil, fmt.Errorf("find interface %s: %w", o.Bridge, err)
	}
	if br.Attrs().Alias != bridgeMark(o) {
		return nil, fmt.Errorf("interface %s exists and is not of this image builder (its alias is %q): choose another name for the build bridge", o.Bridge, br.Attrs().Alias)
	}
	return br, nil
}

// addBridge makes the bridge. It is marked while it is made, so that a crash
// leaves none that nobody knows.
func addBridge(o Options, gateway netip.Addr) error {
	if err := refuseOverlap(o); err != nil {
		return err
	}
	la := netlink.NewLinkAttrs()
	la.Name, la.Alias = o.Bridge, bridgeMark(o)
	br := &netlink.Bridge{LinkAttrs: la}
	if err := netlink.LinkAdd(br); err != nil {
		return fmt.Errorf("make bridge %s: %w", o.Bridge, err)
	}
	if err := netlink.LinkSetAlias(br, la.Alias); err != nil {
		return fmt.Errorf("mark bridge %s: %w", o.Bridge, err)
	}
	// The packet filter rules are for IPv4, so there must be no other way from
	// a step to this machine.
	for path, value := range map[string]string{
		"/proc/sys/net/ipv6/conf/" + o.Bridge + "/disable_ipv6": "1",
		"/proc/sys/net/ipv4/ip_forward":                         "1",
	} {
		if err := os.WriteFile(path, []byte(value), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("set up bridge %s: %w", o.Bridge, err)
		}
	}
	addr := &netlink.Addr{IPNet: ipNet(gateway, o.Subnet.Bits())}
	if err := netlink.AddrAdd(br, addr); err != nil {
		return fmt.Errorf("give bridge %s its address: %w", o.Bridge, err)
	}
	if err := netlink.LinkSetUp(br); err != nil {
		return fmt.Errorf("start bridge %s: %w", o.Bridge, err)
	}
	return nil
}

// refuseOverlap refuses a subnet that this machine is in with another
// interface. Wider routes, as of a VPN, are no hindrance: ours is narrower.
func refuseOverlap(o Options) error {
	addrs, err := consistent(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		ip, ok := netip.AddrFromSlice(a.IP.To4())
		bits, _ := a.Mask.Size()
		if ok && netip.PrefixFrom(ip, bits).Overlaps(o.Subnet) {
			return fmt.Errorf("build network %s overlaps with %s, which this machine is in: choose another subnet for builds", o.Subnet, a.IPNet)
		}
	}
	return nil
}

// removeBridge removes the bridge and all interfaces on it.
func removeBridge(br netlink.Link) error {
	links, err := consistent(netlink.LinkList)
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	for _, l := range links {
		if l.Attrs().MasterIndex != br.Attrs().Index {
			continue
		}
		if err := netlink.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("remove interface %s: %w", l.Attrs().Name, err)
		}
	}
	if err := netlink.LinkDel(br); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove bridge %s: %w", br.Attrs().Name, err)
	}
	return nil
}

// consistent asks again while the kernel's answer was changed under way, which
// happens where Pods come and go.
func consistent[T any](list func() ([]T, error)) ([]T, error) {
	for try := 0; ; try++ {
		all, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) || try == 20 {
			return all, err
		}
	}
}

// New makes the network of one step. The name of the host inside is BuildKit's
// matter.
func (n *network) New(_ context.Context, _ string, _ bknetwork.NamespaceOptions) (_ bknetwork.Namespace, err error) {
	if ns := n.reuse(); ns != nil {
		return &lease{namespace: ns}, nil
	}
	addr, err := n.take()
	if err != nil {
		return nil, err
	}
	ns := &namespace{n: n, addr: addr, path: filepath.Join(n.dir, identity.NewID()), veth: "psb" + hostPart(addr)}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("make network of a build step: %w", err), ns.remove())
		}
	}()
	if err := pinNewNetns(ns.path); err != nil {
		return nil, err
	}
	return &lease{namespace: ns}, n.connect(ns)
}

// Close ends the network. Namespaces still in use are removed by their steps,
// or by clean.
func (n *network) Close() error {
	n.mu.Lock()
	idle := n.idle
	n.idle, n.closed = nil, true
	n.mu.Unlock()
	var errs []error
	for _, ns := range idle {
		errs = append(errs, ns.remove())
	}
	return errors.Join(errs...)
}

// reuse takes an idle namespace, nil when there is none.
func (n *network) reuse() *namespace {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.idle) == 0 {
		return nil
	}
	ns := n.idle[len(n.idle)-1]
	n.idle = n.idle[:len(n.idle)-1]
	return ns
}

// keep says whether ns waits for the next step. A step has no capability that
// could change its network, so the next one finds it as new.
func (n *network) keep(ns *namespace) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || len(n.idle) >= maxIdle {
		return false
	}
	n.idle = append(n.idle, ns)
	return true
}

// take reserves the next free address. Going round instead of taking the
// lowest keeps neighbours from mistaking a new step for an old one.
func (n *network) take() (netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return netip.Addr{}, errors.New("the image builder is stopping")
	}
	a := n.last
	for range 1 << (32 - n.o.Subnet.Bits()) {
		a = a.Next()
		if !n.o.Subnet.Contains(a) || !n.o.Subnet.Contains(a.Next()) { // outside, or the broadcast address
			a = n.gateway
			continue
		}
		if a != n.gateway && !n.used[a] {
			n.used[a], n.last = true, a
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no address is left in build network %s", n.o.Subnet)
}

func (n *network) release(a netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.used, a)
}

// connect puts one end of a cable on the bridge and the other, as eth0, into
// the namespace.
func (n *network) connect(ns *namespace) error {
	h, err := netns.GetFromPath(ns.path)
	if err != nil {
		return fmt.Errorf("open namespace: %w", err)
	}
	defer h.Close()
	br, err := netlink.LinkByName(n.o.Bridge)
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", n.o.Bridge, err)
	}
	la := netlink.NewLinkAttrs()
	la.Name, la.MasterIndex = ns.veth, br.Attrs().Index
	veth := &netlink.Veth{LinkAttrs: la, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(h))}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("make interface %s: %w", ns.veth, err)
	}
	if err := netlink.LinkSetIsolated(veth, true); err != nil {
		return fmt.Errorf("isolate interface %s: %w", ns.veth, err)
	}
	if err := netlink.LinkSetUp(veth); err != nil {
		return fmt.Errorf("start interface %s: %w", ns.veth, err)
	}
	in, err := netlink.NewHandleAt(h)
	if err != nil {
		return fmt.Errorf("enter namespace: %w", err)
	}
	defer in.Close()
	lo, err := in.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback: %w", err)
	}
	eth, err := in.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("find eth0: %w", err)
	}
	return errors.Join(
		in.LinkSetUp(lo),
		in.AddrAdd(eth, &netlink.Addr{IPNet: ipNet(ns.addr, n.o.Subnet.Bits())}),
		in.LinkSetUp(eth),
		in.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Gw: n.gateway.AsSlice()}),
	)
}

// namespace is the network of a step, and then of the next.
type namespace struct {
	n    *network
	addr netip.Addr
	path string
	veth string
}

// lease is one step's use of a namespace.
type lease struct {
	*namespace
	once sync.Once
	err  error
}

// Close ends the step's use. It may be called again.
func (l *lease) Close() error {
	l.once.Do(func() {
		if !l.n.keep(l.namespace) {
			l.err = l.remove()
		}
	})
	return l.err
}

// Set makes the step's container join the namespace.
func (ns *namespace) Set(s *specs.Spec) error {
	for i := range s.Linux.Namespaces {
		if s.Linux.Namespaces[i].Type == specs.NetworkNamespace {
			s.Linux.Namespaces[i].Path = ns.path
			return nil
		}
	}
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: ns.path})
	return nil
}

// Sample reads no traffic counters: they go into provenance records, which
// this builder does not make.
func (*namespace) Sample() (*resourcestypes.NetworkSample, error) { return nil, nil }

// remove removes the namespace and frees its address.
func (ns *namespace) remove() error {
	var errs []error
	// Removing the interface by hand frees its name at once; the kernel takes
	// a namespace apart some time after its last user.
	if l, err := netlink.LinkByName(ns.veth); err == nil {
		if err := netlink.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("remove interface %s: %w", ns.veth, err))
		}
	}
	errs = append(errs, unpinNetns(ns.path))
	ns.n.release(ns.addr)
	return errors.Join(errs...)
}

// pinNewNetns makes a network namespace and keeps it alive by a mount on path.
func pinNewNetns(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("make namespace file: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("make namespace file: %w", err)
	}
	done := make(chan error, 1)
	go func() {
		// The thread is in the new namespace from here on. It stays locked, so
		// the runtime ends it with this goroutine and never reuses it.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("unshare network: %w", err)
			return
		}
		self := "/proc/self/task/" + strconv.Itoa(unix.Gettid()) + "/ns/net"
		if err := unix.Mount(self, path, "", unix.MS_BIND, ""); err != nil {
			done <- fmt.Errorf("pin namespace: %w", err)
			return
		}
		done <- nil
	}()
	return <-done
}

func unpinNetns(path string) error {
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unpin namespace: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove namespace file: %w", err)
	}
	return nil
}

func ipNet(a netip.Addr, bits int) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, 32)}
}

// hostPart makes the address usable in an interface name: 10.217.0.2 is
// "0ad90002".
func hostPart(a netip.Addr) string {
	var b strings.Builder
	for _, x := range a.As4() {
		fmt.Fprintf(&b, "%02x", x)
	}
	return b.String()
}
