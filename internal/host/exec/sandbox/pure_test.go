//go:build linux

package sandbox

import (
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/host/exec"
)

func TestParseMountinfo(t *testing.T) {
	const in = `22 28 0:21 / /proc rw,nosuid shared:13 - proc proc rw
29 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
40 29 8:2 /sub /var/lib/with\040space\011tab\134 rw - xfs /dev/sdb1 rw
41 29 0:40 / /opt rw shared:2 master:3 - btrfs /dev/sdc rw,subvol=/x - y
`
	got, err := parseMountinfo(strings.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	want := []mount{{"/", "/proc", "proc"}, {"/", "/", "ext4"}, {"/sub", "/var/lib/with space\ttab\\", "xfs"}, {"/", "/opt", "btrfs"}}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(mount{})); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{"22 28 0:21 / /proc rw", "x - ext4", " - "} {
		if _, err := parseMountinfo(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func FuzzParseMountinfo(f *testing.F) {
	f.Add(`40 29 8:2 /sub /a\040b rw - xfs /dev/sdb1 rw`)
	f.Add(`1 1 1 \ \0 \777 - x`)
	f.Fuzz(func(t *testing.T, s string) {
		ms, err := parseMountinfo(strings.NewReader(s))
		if err == nil {
			for _, m := range ms {
				if m.fstype == "" || m.point == "" && !strings.Contains(s, `\`) {
					t.Errorf("%q gave %+v", s, m)
				}
			}
		}
	})
}

// A map must show the owner as root, root as the owner, and no two ids as one.
func TestSwap(t *testing.T) {
	for _, as := range []int{0, 1, 999, 1000, 65535} {
		testSwap(t, as)
	}
}

func testSwap(t *testing.T, as int) {
	const base = 1 << 20
	for _, id := range []int{0, 1, 2, 1000, 65533, 65534, 65535, 65536, 3_000_000} {
		m := swap(base, id, as)
		look := func(onDisk int) int {
			for _, e := range m {
				if onDisk >= e.ContainerID && onDisk < e.ContainerID+e.Size {
					return e.HostID + onDisk - e.ContainerID
				}
			}
			return -1
		}
		if got := look(id); got != base+as {
			t.Errorf("owner %d is seen as %d, want %d", id, got, base+as)
		}
		if id != as && id < idCount {
			if got := look(as); got != base+id {
				t.Errorf("owner %d: user %d is seen as %d, want %d", id, as, got, base+id)
			}
		}
		size := 0
		var disk, seen []syscall.SysProcIDMap
		for _, e := range m {
			size += e.Size
			disk = append(disk, e)
			seen = append(seen, syscall.SysProcIDMap{ContainerID: e.HostID, Size: e.Size})
			if e.HostID < base || e.HostID+e.Size > base+idCount {
				t.Errorf("owner %d: %+v leaves the sandbox's range", id, e)
			}
		}
		if size != idCount {
			t.Errorf("owner %d: %d ids are mapped, want %d", id, size, idCount)
		}
		for _, list := range [][]syscall.SysProcIDMap{disk, seen} {
			slices.SortFunc(list, func(a, b syscall.SysProcIDMap) int { return a.ContainerID - b.ContainerID })
			for i := 1; i < len(list); i++ {
				if list[i-1].ContainerID+list[i-1].Size > list[i].ContainerID {
					t.Errorf("owner %d: ranges overlap: %+v", id, m)
				}
			}
		}
	}
}

func TestSlots(t *testing.T) {
	subnet := netip.MustParsePrefix("10.216.0.0/16")
	seen := map[string]bool{}
	for n := firstSlot; n <= lastSlot; n++ {
		s := slot{n: n}
		addr := s.address(subnet)
		if !subnet.Contains(addr) || addr == gateway(subnet) || seen[addr.String()] {
			t.Errorf("slot %d has address %s", n, addr)
		}
		seen[addr.String()] = true
		if end := s.idBase() + idCount; end > 1<<31 {
			t.Errorf("slot %d: ids end at %d, beyond 2^31", n, end)
		}
		if name := s.interfaceName(); len(name) > 15 {
			t.Errorf("interface name %s is too long", name)
		}
	}
	dir := t.TempDir()
	a, err := takeSlot(dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := takeSlot(dir)
	if err != nil {
		t.Fatal(err)
	}
	if a.n != firstSlot || b.n != firstSlot+1 {
		t.Errorf("got slots %d and %d", a.n, b.n)
	}
	a.release()
	if c, err := takeSlot(dir); err != nil || c.n != firstSlot {
		t.Errorf("after a release: slot %d, %v", c.n, err)
	}
}

func TestMissingJumps(t *testing.T) {
	want := networks{Subnets: []netip.Prefix{netip.MustParsePrefix("10.216.0.0/16")}}.jumps()
	ok := `*raw
-A PREROUTING -i pnci+ -j PENSTOCK-CI-SOURCE
COMMIT
*mangle
-A FORWARD -i pnci+ -j PENSTOCK-CI-MARK
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:PENSTOCK-CI-IN - [0:0]
-A INPUT -i pnci+ -j PENSTOCK-CI-IN
-A INPUT -j KUBE-FIREWALL
-A FORWARD -o pnci+ -j PENSTOCK-CI-FORWARD
-A FORWARD -i pnci+ -j PENSTOCK-CI-FORWARD
-A FORWARD -j DOCKER-USER
COMMIT
*nat
-A POSTROUTING -s 10.216.0.0/16 -j PENSTOCK-CI-NAT
-A POSTROUTING -j KUBE-POSTROUTING
COMMIT
`
	if got := missingJumps(ok, want); len(got) > 0 {
		t.Errorf("missing %v from what is complete", got)
	}
	if got := missingJumps("", want); len(got) != len(want) {
		t.Errorf("missing %v from nothing", got)
	}
	// Behind another rule it might never be reached.
	late := strings.Replace(ok, "-A INPUT -i pnci+ -j PENSTOCK-CI-IN\n-A INPUT -j KUBE-FIREWALL", "-A INPUT -j KUBE-FIREWALL\n-A INPUT -i pnci+ -j PENSTOCK-CI-IN", 1)
	if got := missingJumps(late, want); len(got) != 1 || got[0].chain != "INPUT" {
		t.Errorf("missing %v, want the jump in INPUT", got)
	}
	// The same words in another table are something else.
	if got := missingJumps(strings.Replace(ok, "*nat", "*security", 1), want); len(got) != 1 || got[0].table != "nat" {
		t.Errorf("missing %v, want the one in nat", got)
	}
}

func TestRules(t *testing.T) {
	text := networks{
		Subnets: []netip.Prefix{netip.MustParsePrefix("10.216.0.0/16")},
		Deny:    []netip.Prefix{netip.MustParsePrefix("10.214.0.0/16"), netip.MustParsePrefix("10.215.0.0/16")},
	}.rules()
	accept := strings.Index(text, "-A PENSTOCK-CI-FORWARD -i pnci+ -j ACCEPT")
	if accept < 0 {
		t.Fatal("no egress")
	}
	for _, d := range []string{"-d 10.214.0.0/16", "-d 10.215.0.0/16", "-d 10.216.0.0/16", "-d 169.254.0.0/16", "-o docker+", "-o penstock+", "-o pnci+", "-o cni+"} {
		at := strings.Index(text, "-A PENSTOCK-CI-FORWARD -i pnci+ "+d+" -j REJECT")
		if at < 0 || at > accept {
			t.Errorf("%s is not refused before egress is allowed", d)
		}
	}
	if strings.Contains(text, "-A INPUT") || strings.Contains(text, "-A FORWARD") || strings.Contains(text, ":INPUT") {
		t.Error("the rules touch chains of others")
	}
}

func TestNetworksJoin(t *testing.T) {
	p := netip.MustParsePrefix
	a := networks{Subnets: []netip.Prefix{p("10.216.0.0/16")}, Deny: []netip.Prefix{p("10.214.0.0/16")}}
	b := networks{Subnets: []netip.Prefix{p("10.216.9.9/16")}, Deny: []netip.Prefix{p("10.215.0.0/16")}}
	ab := a.join(b)
	want := networks{Subnets: []netip.Prefix{p("10.216.0.0/16")}, Deny: []netip.Prefix{p("10.214.0.0/16"), p("10.215.0.0/16")}}
	if d := cmp.Diff(want, ab, cmp.Comparer(func(x, y netip.Prefix) bool { return x == y })); d != "" {
		t.Error(d)
	}
	if a.covers(b) || !ab.covers(a) || !ab.covers(b) || (networks{}).covers(a) {
		t.Error("covers is wrong")
	}
}

func TestParseResolvConf(t *testing.T) {
	for in, want := range map[string]struct{ servers, keep []string }{
		"": {[]string{"127.0.0.1:53"}, nil},
		"nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan\n":                                      {[]string{"127.0.0.53:53"}, []string{"options edns0 trust-ad", "search lan"}},
		"# nameserver 9.9.9.9\nnameserver ::1\nnameserver 1.1.1.1\nnameserver 2.2.2.2\nnameserver 3.3.3.3": {[]string{"[::1]:53", "1.1.1.1:53", "2.2.2.2:53"}, nil},
		"nameserver\nsortlist 1.2.3.4\ndomain example.org":                                                 {[]string{"127.0.0.1:53"}, []string{"domain example.org"}},
	} {
		servers, keep := parseResolvConf(in)
		if d := cmp.Diff(want.servers, servers); d != "" {
			t.Errorf("%q: %s", in, d)
		}
		if d := cmp.Diff(want.keep, keep); d != "" {
			t.Errorf("%q: %s", in, d)
		}
	}
}

func FuzzParseResolvConf(f *testing.F) {
	f.Add("nameserver 1.1.1.1\nsearch a b")
	f.Fuzz(func(t *testing.T, s string) {
		servers, _ := parseResolvConf(s)
		if len(servers) == 0 || len(servers) > 3 {
			t.Errorf("%d servers", len(servers))
		}
	})
}

func TestRemoteHosts(t *testing.T) {
	in := "127.0.0.1 localhost\n127.0.1.1 me\n::1 ip6-localhost\n10.1.2.3  mirror mirror.lan # ours\nff02::1 ip6-allnodes\n0.0.0.0 ads.example\nnonsense line\n10.9.9.9\n"
	if got := remoteHosts(in); got != "10.1.2.3 mirror mirror.lan\n" {
		t.Errorf("got %q", got)
	}
}

func TestLimitsDefault(t *testing.T) {
	def := exec.Limits{MemoryBytes: 10, CPUs: 0, Processes: 30}
	got := limits(exec.Limits{CPUs: 2, MemoryBytes: 5}, def)
	if want := (exec.Limits{MemoryBytes: 5, CPUs: 2, Processes: 30}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
