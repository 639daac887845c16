//go:build e2e

// Package e2e drives a real penstock-node: it starts the program in a network
// namespace of its own, uses it as a person with kubectl would, breaks it and
// looks at what is left.
//
// It needs root. PENSTOCK_NODE names the program; without it, one is built.
package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// inside marks the process that runs in the namespace.
const inside = "PENSTOCK_E2E_INSIDE"

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Println("skipped: a node needs root")
		os.Exit(0)
	}
	if os.Getenv(inside) != "" {
		os.Exit(m.Run())
	}
	program, err := program()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// Everything below runs in a fresh network namespace: it disturbs no other
	// node of this machine, and what is left in it is ours.
	c := exec.Command("unshare", append([]string{"--net", "--", "/bin/sh", "-c", `ip link set lo up && exec "$0" "$@"`}, os.Args...)...)
	c.Env = append(os.Environ(), inside+"="+program)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// program returns the penstock-node to test.
func program() (string, error) {
	if p := os.Getenv("PENSTOCK_NODE"); p != "" {
		return filepath.Abs(p)
	}
	out := filepath.Join(os.TempDir(), "penstock-e2e", "penstock-node")
	for _, args := range [][]string{{"generate", "../internal/infra"}, {"build", "-o", out, "../cmd/penstock-node"}} {
		c := exec.Command("go", args...)
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		if err := c.Run(); err != nil {
			return "", fmt.Errorf("go %s: %w", args[0], err)
		}
	}
	return out, nil
}
