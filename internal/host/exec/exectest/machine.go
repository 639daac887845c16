//go:build linux

package exectest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Denied is what a runtime under test has to refuse beside its own defaults.
var Denied = netip.MustParsePrefix("198.19.0.0/16")

// Machine is a network namespace that stands for another machine. Its addresses
// are in networks that are set aside for benchmarks, and for links, where clouds
// have their metadata service. On TCP port 8000 it answers, over HTTP, with the
// address that asked.
type Machine struct {
	Host                      string // our own address on the way there
	Allowed, Denied, Metadata string
	UDP                       net.PacketConn // its port 8000
}

// third finds a part of the addresses that no other test process uses.
func third(t *testing.T) int {
	t.Helper()
	for n := 1; n < 250; n++ {
		// The name is the kernel's, and goes with the process.
		l, err := net.Listen("unix", fmt.Sprintf("@penstock-exectest-%d", n))
		if err == nil {
			t.Cleanup(func() { l.Close() })
			return n
		}
	}
	t.Fatal("249 other tests are running")
	return 0
}

// OtherMachine makes one for the time of the test.
func OtherMachine(t *testing.T) Machine {
	t.Helper()
	n := third(t)
	m := Machine{
		Host: fmt.Sprintf("198.18.%d.1", n), Allowed: fmt.Sprintf("198.18.%d.2", n),
		Denied: fmt.Sprintf("198.19.%d.2", n), Metadata: fmt.Sprintf("169.254.%d.254", n),
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	host, err := netns.Get()
	must(err)
	defer host.Close()
	other, err := netns.New() // and we are in it
	must(err)
	l, err := net.Listen("tcp", ":8000") //nolint:gosec // all addresses of a namespace that is the test's own
	udp, udpErr := net.ListenPacket("udp4", ":8000")
	backErr := netns.Set(host)
	must(err)
	must(udpErr)
	must(backErr)
	m.UDP = udp
	srv := &http.Server{
		ReadHeaderTimeout: 5 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h, _, _ := net.SplitHostPort(r.RemoteAddr)
			io.WriteString(w, h)
		}),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the other machine ended: %v", err)
		}
	}()
	t.Cleanup(func() { srv.Close(); <-done; udp.Close(); other.Close() })

	name := fmt.Sprintf("xtest%d", n)
	if old, err := netlink.LinkByName(name); err == nil {
		must(netlink.LinkDel(old)) // of a test that was killed: the number is ours
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(other)}))
	link, err := netlink.LinkByName(name)
	must(err)
	t.Cleanup(func() {
		if err := netlink.LinkDel(link); err != nil {
			t.Errorf("remove link to the other machine: %v", err)
		}
	})
	addr := func(s string) *netlink.Addr {
		a, err := netlink.ParseAddr(s)
		must(err)
		return a
	}
	must(netlink.AddrAdd(link, addr(m.Host+"/24")))
	must(netlink.LinkSetUp(link))
	h, err := netlink.NewHandleAt(other, unix.NETLINK_ROUTE)
	must(err)
	defer h.Close()
	eth, err := h.LinkByName("eth0")
	must(err)
	must(h.LinkSetUp(eth))
	must(h.AddrAdd(eth, addr(m.Allowed+"/24")))
	for _, a := range []string{m.Denied, m.Metadata} {
		must(h.AddrAdd(eth, addr(a+"/32")))
		must(netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: &net.IPNet{IP: net.ParseIP(a).To4(), Mask: net.CIDRMask(32, 32)}, Gw: net.ParseIP(m.Allowed)}))
	}
	return m
}
