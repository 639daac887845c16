package dns

import (
	"net/netip"
	"os"
	"strings"
)

// nameservers returns the addresses in the text of a resolv.conf.
func nameservers(text string) []netip.Addr {
	var out []netip.Addr
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) >= 2 && f[0] == "nameserver" {
			if a, err := netip.ParseAddr(f[1]); err == nil {
				out = append(out, a)
			}
		}
	}
	return out
}

func names(text string) bool { return len(nameservers(text)) > 0 }

// ForPods returns the text of the resolv.conf of Pods that use the node's
// resolvers (dnsPolicy Default). A resolver on the machine's loopback cannot be
// reached from a Pod; the cluster's DNS, which asks it, can.
func ForPods(host, clusterDNS string) string {
	var keep []string
	reachable := false
	for line := range strings.Lines(host) {
		f := strings.Fields(line)
		switch {
		case len(f) == 0, strings.HasPrefix(f[0], "#"), strings.HasPrefix(f[0], ";"):
			continue
		case f[0] == "nameserver":
			a, err := netip.ParseAddr(f[len(f)-1])
			if err != nil || a.IsLoopback() {
				continue
			}
			reachable = true
		}
		keep = append(keep, strings.Join(f, " "))
	}
	if !reachable {
		keep = append([]string{"nameserver " + clusterDNS}, keep...)
	}
	return strings.Join(keep, "\n") + "\n"
}

// HostResolvConf is the file with the machine's resolvers.
func HostResolvConf() string {
	if _, err := os.Stat("/etc/resolv.conf"); err != nil {
		return ""
	}
	return "/etc/resolv.conf"
}
