//go:build linux

package exectest

import (
	"testing"

	"github.com/penstock-dev/penstock/internal/host/exec"
)

// Isolated tests what runtimes with isolation promise beyond Run. Their
// sessions need busybox besides a shell, and rt has to refuse Denied.
func Isolated(t *testing.T, rt exec.Runtime) {
	for name, test := range map[string]func(*testing.T, exec.Runtime){
		"private network": func(t *testing.T, rt exec.Runtime) { PrivateNetwork(t, rt, rt) },
		"mounts":          mounts,
		"memory limit":    memoryLimit,
		"process limit":   processLimit,
		"cpu limit":       cpuLimit,
		"addresses":       addresses,
		"kernel":          kernel,
		"proxy settings":  proxySettings,
	} {
		t.Run(name, func(t *testing.T) { test(t, rt) })
	}
}
