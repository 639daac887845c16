//go:build linux

package sandbox

import (
	"slices"
	"strings"
)

// proxyNames are the variables by which programs find the machine's way out.
var proxyNames = []string{"http_proxy", "https_proxy", "no_proxy", "ftp_proxy", "all_proxy"}

// proxyEnv picks the proxy settings out of an environment.
func proxyEnv(environ []string) []string {
	var out []string
	for _, kv := range environ {
		name, value, ok := strings.Cut(kv, "=")
		if ok && value != "" && slices.Contains(proxyNames, strings.ToLower(name)) {
			out = append(out, kv)
		}
	}
	return out
}
