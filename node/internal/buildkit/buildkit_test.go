//go:build linux

package buildkit

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func testOptions(t *testing.T) Options {
	t.Helper()
	o, err := Options{Root: "/data/buildkit", Socket: "/data/run/s.sock", Deny: []netip.Prefix{netip.MustParsePrefix("10.214.0.0/16")}}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
		want string
	}{
		{"no root", Options{Socket: "s"}, "required"},
		{"long bridge", Options{Root: "r", Socket: "s", Bridge: "sixteen-letters-"}, "longer than 15"},
		{"IPv6", Options{Root: "r", Socket: "s", Subnet: netip.MustParsePrefix("fd00::/64")}, "not an IPv4 network"},
		{"small", Options{Root: "r", Socket: "s", Subnet: netip.MustParsePrefix("10.0.0.0/30")}, "at least 16"},
	} {
		if _, err := c.o.withDefaults(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: err = %v, want %q in it", c.name, err, c.want)
		}
	}
}

// The rules say what a build step reaches; a change here is a change of that.
func TestRules(t *testing.T) {
	want := `*filter
:PENSTOCK-penstockbuild0-IN - [0:0]
:PENSTOCK-penstockbuild0-FW - [0:0]
-A PENSTOCK-penstockbuild0-IN -i penstockbuild0 -j REJECT --reject-with icmp-port-unreachable
-A PENSTOCK-penstockbuild0-FW -i penstockbuild0 -d 127.0.0.0/8 -j REJECT --reject-with icmp-net-unreachable
-A PENSTOCK-penstockbuild0-FW -i penstockbuild0 -d 169.254.0.0/16 -j REJECT --reject-with icmp-net-unreachable
-A PENSTOCK-penstockbuild0-FW -i penstockbuild0 -d 10.216.0.0/16 -j REJECT --reject-with icmp-net-unreachable
-A PENSTOCK-penstockbuild0-FW -i penstockbuild0 -d 10.214.0.0/16 -j REJECT --reject-with icmp-net-unreachable
-A PENSTOCK-penstockbuild0-FW -i penstockbuild0 -o penstockbuild0 -j DROP
-A PENSTOCK-penstockbuild0-FW -i penstockbuild0 -j ACCEPT
-A PENSTOCK-penstockbuild0-FW -o penstockbuild0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A PENSTOCK-penstockbuild0-FW -o penstockbuild0 -j DROP
COMMIT
*nat
:PENSTOCK-penstockbuild0-NT - [0:0]
-A PENSTOCK-penstockbuild0-NT -s 10.217.0.0/16 ! -d 10.217.0.0/16 ! -o penstockbuild0 -j MASQUERADE
COMMIT
`
	if diff := cmp.Diff(want, rules(testOptions(t))); diff != "" {
		t.Error(diff)
	}
}

func TestUndoRules(t *testing.T) {
	saved := `*filter
:INPUT ACCEPT [1:2]
:FORWARD ACCEPT [0:0]
:KUBE-FORWARD - [0:0]
:PENSTOCK-penstockbuild0-FW - [0:0]
:PENSTOCK-penstockbuild0-IN - [0:0]
:PENSTOCK-penstockbuild01-IN - [0:0]
-A INPUT -j PENSTOCK-penstockbuild0-IN
-A INPUT -j PENSTOCK-penstockbuild01-IN
-A FORWARD -j PENSTOCK-penstockbuild0-FW
-A FORWARD -j KUBE-FORWARD
-A PENSTOCK-penstockbuild0-IN -i penstockbuild0 -j REJECT
COMMIT
`
	want := `*filter
-D INPUT -j PENSTOCK-penstockbuild0-IN
-D FORWARD -j PENSTOCK-penstockbuild0-FW
-F PENSTOCK-penstockbuild0-IN
-F PENSTOCK-penstockbuild0-FW
-X PENSTOCK-penstockbuild0-IN
-X PENSTOCK-penstockbuild0-FW
COMMIT
`
	if diff := cmp.Diff(want, undoRules(saved, "filter", testOptions(t))); diff != "" {
		t.Error(diff)
	}
	if got := undoRules("*nat\n:POSTROUTING ACCEPT [0:0]\nCOMMIT\n", "nat", testOptions(t)); got != "" {
		t.Errorf("nothing to undo gives %q", got)
	}
}

func TestLeftMounts(t *testing.T) {
	info := `25 1 8:1 / / rw,relatime - ext4 /dev/vda rw
40 25 0:50 / /data/buildkit/runc-overlayfs/executor/x/rootfs rw - overlay overlay rw,lowerdir=/data/buildkit/a
41 25 0:4 net:[4026532] /data/buildkit/netns/y rw - nsfs nsfs rw
42 25 0:51 / /tmp/buildkit-mount123 rw - overlay overlay rw,lowerdir=/data/buildkit/runc-overlayfs/snapshots/1/fs:/data/buildkit/2
43 25 8:1 /data/buildkit/runc-overlayfs/snapshots/3/fs /tmp/containerd-mount9 ro - ext4 /dev/vda rw
44 25 0:52 / /tmp/buildkit-mount777 rw - overlay overlay rw,lowerdir=/var/lib/docker/a
45 25 0:53 / /data/buildkit2/rootfs rw - tmpfs tmpfs rw
46 25 0:54 / /mnt/with\040space rw - tmpfs tmpfs rw
`
	got, err := leftMounts(strings.NewReader(info), "/data/buildkit")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/data/buildkit/runc-overlayfs/executor/x/rootfs", "/data/buildkit/netns/y", "/tmp/buildkit-mount123", "/tmp/containerd-mount9"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, err := leftMounts(strings.NewReader(info), "/mnt/with space"); err != nil || len(got) != 0 {
		t.Errorf("the root's own mount is not below it: %q, %v", got, err)
	}
}

func FuzzLeftMounts(f *testing.F) {
	f.Add("25 1 8:1 / / rw,relatime - ext4 /dev/vda rw\n")
	f.Add("41 25 0:4 net:[4026532] /data/buildkit/netns/y rw - nsfs nsfs rw\n")
	f.Add(" - \n- - -\n\\040")
	f.Fuzz(func(t *testing.T, info string) {
		points, err := leftMounts(strings.NewReader(info), "/data/buildkit")
		if err != nil {
			return
		}
		for _, p := range points {
			if !strings.HasPrefix(p, "/data/buildkit/") && !temporary(p) {
				t.Errorf("%q would be unmounted", p)
			}
		}
	})
}

func TestIsLinkedSyntax(t *testing.T) {
	for ref, want := range map[string]bool{
		"docker/dockerfile":              true,
		"docker/dockerfile:1":            true,
		"docker.io/docker/dockerfile:1":  true,
		"docker/dockerfile:latest":       true,
		"docker/dockerfile:1.4":          true,
		"docker/dockerfile:1.28":         true,
		"docker/dockerfile:1.28.0":       true,
		"docker/dockerfile:1.28.1":       false,
		"docker/dockerfile:1.29":         false,
		"docker/dockerfile:2":            false,
		"docker/dockerfile:1-labs":       false,
		"docker/dockerfile:1.4-labs":     false,
		"docker/dockerfile-upstream:1":   false,
		"docker/dockerfile@sha256:abc":   false,
		"docker/dockerfile:1@sha256:abc": false,
		"example.com/docker/dockerfile":  false,
		"":                               false,
	} {
		if got := isLinkedSyntax(ref, "1.28.0"); got != want {
			t.Errorf("isLinkedSyntax(%q) = %v", ref, got)
		}
	}
}

func TestGCPolicy(t *testing.T) {
	for _, c := range []struct{ limit, disk, wantMax, wantFree int64 }{
		{20e9, 1000e9, 20e9, 100e9},
		{20e9, 40e9, 10e9, 4e9}, // a small disk
		{20e9, 0, 20e9, 0},      // a disk that does not tell
	} {
		p := gcPolicy(c.limit, c.disk)
		last := p[len(p)-1]
		if !last.All || last.MaxUsedSpace != c.wantMax || last.MinFreeSpace != c.wantFree {
			t.Errorf("gcPolicy(%d, %d) ends in %+v, want at most %d used and %d free", c.limit, c.disk, last, c.wantMax, c.wantFree)
		}
		if p[0].KeepDuration != 48*time.Hour || p[0].MaxUsedSpace >= c.wantMax {
			t.Errorf("gcPolicy(%d, %d) begins with %+v", c.limit, c.disk, p[0])
		}
	}
}

func TestAddresses(t *testing.T) {
	o := testOptions(t)
	o.Subnet = netip.MustParsePrefix("10.1.0.0/28")
	gw := netip.MustParseAddr("10.1.0.1")
	n := &network{o: o, gateway: gw, last: gw, used: map[netip.Addr]bool{}}
	seen := map[netip.Addr]bool{}
	for range 13 { // 16 less network, gateway and broadcast
		a, err := n.take()
		if err != nil {
			t.Fatal(err)
		}
		if seen[a] || a == gw || !o.Subnet.Contains(a) || a == netip.MustParseAddr("10.1.0.15") || a == o.Subnet.Addr() {
			t.Errorf("took %s", a)
		}
		seen[a] = true
	}
	if a, err := n.take(); err == nil {
		t.Errorf("took %s from an empty network", a)
	}
	free := netip.MustParseAddr("10.1.0.7")
	n.release(free)
	if a, err := n.take(); err != nil || a != free {
		t.Errorf("took %s, %v, want %s", a, err, free)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n.release(free)
	if _, err := n.take(); err == nil {
		t.Error("took an address of a closed network")
	}
}
