//go:build linux

package exectest

import (
	"testing"

	"github.com/penstock-dev/penstock/internal/host/exec"
)

// Isolated tests what runtimes with isolation promise beyond Run. Their
// sessions need busybox besides a shell.
func Isolated(t *testing.T, rt exec.Runtime) {
	for name, test := range map[string]func(*testing.T, exec.Runtime){
		"private network": func(t *testing.T, rt exec.Runtime) { privateNetwork(t, rt, rt) },
	} {
		t.Run(name, func(t *testing.T) { test(t, rt) })
	}
}
