//go:build linux

package sandbox

import (
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A machine's way out may be a proxy that listens on the machine itself, where
// a sandbox cannot reach it. Such a proxy is forwarded to the sandbox's own
// loopback, and the setting that names it is changed to that.

// proxyNames are the variables by which programs find the machine's way out.
var proxyNames = []string{"http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"}

// proxies returns the proxy settings of an environment as they have to be
// inside, and the forwards that they need: inside to outside. own says which
// addresses are the machine's.
func proxies(environ []string, own func(netip.Addr) bool) (env []string, forwards map[string]string) {
	forwards = map[string]string{}
	for _, kv := range environ {
		name, value, ok := strings.Cut(kv, "=")
		if !ok || value == "" || !slices.Contains(proxyNames, strings.ToLower(name)) {
			continue
		}
		if strings.ToLower(name) != "no_proxy" {
			value = localProxy(value, own, forwards)
		}
		env = append(env, name+"="+value)
	}
	return env, forwards
}

// localProxy adds the forward for a proxy of this machine and returns its
// address inside. Other settings it returns as they are.
func localProxy(setting string, own func(netip.Addr) bool, forwards map[string]string) string {
	bare := !strings.Contains(setting, "://")
	full := setting
	if bare {
		full = "http://" + setting
	}
	u, err := url.Parse(full)
	if err != nil || u.Port() == "" {
		return setting
	}
	host := u.Hostname()
	if host != "localhost" {
		addr, err := netip.ParseAddr(host)
		if err != nil || !addr.IsLoopback() && !own(addr) {
			return setting
		}
	}
	inside := net.JoinHostPort("127.0.0.1", u.Port())
	forwards[inside] = net.JoinHostPort(host, u.Port())
	u.Host = inside
	if bare {
		return strings.TrimPrefix(u.String(), "http://")
	}
	return u.String()
}

// ownAddress says whether the address is one of this machine's interfaces.
func ownAddress(a netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, i := range addrs {
		if p, err := netip.ParsePrefix(i.String()); err == nil && p.Addr().Unmap() == a.Unmap() {
			return true
		}
	}
	return false
}

var aptProxy = regexp.MustCompile(`(?mi)^\s*Acquire::(?:http|https|ftp)::Proxy\s+"([^"]+)"`)

// aptForwards finds the proxies on loopback that apt is configured with. Its
// files stay as they are, so a proxy on another address of this machine cannot
// be helped.
func aptForwards(files []string) map[string]string {
	forwards := map[string]string{}
	for _, f := range files {
		for _, m := range aptProxy.FindAllStringSubmatch(readText(f), -1) {
			localProxy(m[1], func(netip.Addr) bool { return false }, forwards)
		}
	}
	return forwards
}

// wayOut are the forwards that this machine's proxies need.
func wayOut() map[string]string {
	_, forwards := proxies(os.Environ(), ownAddress)
	files, err := filepath.Glob("/etc/apt/apt.conf.d/*")
	if err != nil {
		return forwards // the pattern is a constant: this does not happen
	}
	for inside, outside := range aptForwards(append(files, "/etc/apt/apt.conf")) {
		forwards[inside] = outside
	}
	return forwards
}
