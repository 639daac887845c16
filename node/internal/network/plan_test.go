package network

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/node/internal/fault"
)

func TestNewPlan(t *testing.T) {
	p, err := NewPlan("penstock0", "10.214.0.0/16", "10.215.0.0/16")
	if err != nil {
		t.Fatal(err)
	}
	for what, got := range map[string][2]string{
		"node": {p.Node.String(), "10.214.0.1"}, "api": {p.API.String(), "10.215.0.1"}, "dns": {p.DNS.String(), "10.215.0.10"},
	} {
		if got[0] != got[1] {
			t.Errorf("%s is %s, want %s", what, got[0], got[1])
		}
	}
	for name, tc := range map[string][4]string{
		"overlap":       {"b", "10.0.0.0/8", "10.215.0.0/16", "overlap"},
		"not a range":   {"b", "10.214.0.0", "10.215.0.0/16", "--pod-cidr"},
		"not its first": {"b", "10.214.0.0/16", "10.215.0.7/16", "first address is 10.215.0.0"},
		"too small":     {"b", "10.214.0.0/25", "10.215.0.0/16", "at least a /24"},
		"IPv6":          {"b", "fd00::/64", "10.215.0.0/16", "IPv4"},
		"no bridge":     {"", "10.214.0.0/16", "10.215.0.0/16", "--bridge"},
		"long bridge":   {"sixteen-letters0", "10.214.0.0/16", "10.215.0.0/16", "--bridge"},
	} {
		if _, err := NewPlan(tc[0], tc[1], tc[2]); err == nil || !errors.Is(err, fault.ErrUsage) || !strings.Contains(err.Error(), tc[3]) {
			t.Errorf("%s: got %v, want usage with %q", name, err, tc[3])
		}
	}
}

func TestConflict(t *testing.T) {
	p, err := NewPlan("penstock0", "10.214.0.0/16", "10.215.0.0/16")
	if err != nil {
		t.Fatal(err)
	}
	r := func(s, link string) route { return route{netip.MustParsePrefix(s), link} }
	for name, tc := range map[string]struct {
		routes []route
		want   string
	}{
		"default route":   {[]route{r("0.0.0.0/0", "eth0"), r("192.168.1.0/24", "eth0")}, ""},
		"our own":         {[]route{r("10.214.0.0/16", "penstock0"), r("10.215.0.0/16", "penstock0")}, ""},
		"vpn over all":    {[]route{r("10.0.0.0/8", "tun0")}, "tun0"},
		"inside services": {[]route{r("10.215.3.0/24", "wlan0")}, "wlan0"},
		"beside":          {[]route{r("10.213.0.0/16", "docker0"), r("10.216.0.0/16", "docker1")}, ""},
	} {
		if got, _ := p.conflict(tc.routes); got.link != tc.want {
			t.Errorf("%s: conflict with %q, want %q", name, got.link, tc.want)
		}
	}
}

func TestRules(t *testing.T) {
	p, err := NewPlan("penstock0", "10.214.0.0/16", "10.215.0.0/16")
	if err != nil {
		t.Fatal(err)
	}
	const want = `*filter
:PENSTOCK-FORWARD - [0:0]
-A PENSTOCK-FORWARD -i pnci+ -j RETURN
-A PENSTOCK-FORWARD -s 10.214.0.0/16 -j ACCEPT
-A PENSTOCK-FORWARD -d 10.214.0.0/16 -j ACCEPT
COMMIT
*nat
:PENSTOCK-MASQ - [0:0]
-A PENSTOCK-MASQ -s 10.214.0.0/16 ! -d 10.214.0.0/16 -j MASQUERADE
COMMIT
`
	if got := rules(p); got != want {
		t.Errorf("got:\n%s", got)
	}
}
