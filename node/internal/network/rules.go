package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/penstock-dev/penstock/node/internal/fault"
	"github.com/penstock-dev/penstock/node/internal/host"
)

// Our chains. Nothing else of ours is in the packet filter but the jumps to
// them; kube-proxy and the portmap plugin have their own.
const (
	forwardChain = "PENSTOCK-FORWARD"
	masqChain    = "PENSTOCK-MASQ"
)

// sandboxes are the interfaces of CI jobs' sandboxes, a name that penstock and
// penstock-node agree on. Jobs may not reach Pods. That is for the sandboxes'
// own rules to say, which come behind ours whenever the node starts last; so
// ours say nothing about them.
const sandboxes = "pnci+"

// jumps lead to our chains.
var jumps = []struct{ table, from, to string }{
	{"filter", "FORWARD", forwardChain},
	{"nat", "POSTROUTING", masqChain},
}

// rules is the input of iptables-restore: Pods may talk to the world under the
// machine's address, and packets from and to them are forwarded even where
// other software drops what it does not know.
func rules(p Plan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*filter\n:%s - [0:0]\n", forwardChain)
	fmt.Fprintf(&b, "-A %s -i %s -j RETURN\n", forwardChain, sandboxes)
	fmt.Fprintf(&b, "-A %s -s %s -j ACCEPT\n", forwardChain, p.Pods)
	fmt.Fprintf(&b, "-A %s -d %s -j ACCEPT\nCOMMIT\n", forwardChain, p.Pods)
	fmt.Fprintf(&b, "*nat\n:%s - [0:0]\n", masqChain)
	fmt.Fprintf(&b, "-A %s -s %s ! -d %s -j MASQUERADE\nCOMMIT\n", masqChain, p.Pods, p.Pods)
	return b.String()
}

func addRules(ctx context.Context, p Plan) error {
	// Chains that are named are flushed and filled in one transaction.
	if err := iptables(ctx, rules(p), "iptables-restore", "--noflush", "--wait", "10"); err != nil {
		return err
	}
	for _, j := range jumps {
		if iptables(ctx, "", "iptables", "--wait", "10", "-t", j.table, "-C", j.from, "-j", j.to) == nil {
			continue
		}
		if err := iptables(ctx, "", "iptables", "--wait", "10", "-t", j.table, "-I", j.from, "-j", j.to); err != nil {
			return err
		}
	}
	return nil
}

func removeRules(ctx context.Context) error {
	var errs []error
	for _, j := range jumps {
		errs = append(errs, removeChain(ctx, "iptables", j.table, j.to, j.from))
	}
	// kube-proxy makes this chain and forgets it when it cleans up.
	for _, family := range []string{"iptables", "ip6tables"} {
		errs = append(errs, removeChain(ctx, family, "filter", "KUBE-FIREWALL", "INPUT", "OUTPUT"))
	}
	return errors.Join(errs...)
}

// removeChain removes a chain and the jumps to it; one that is not there is no
// error.
func removeChain(ctx context.Context, family, table, chain string, from ...string) error {
	run := func(args ...string) error {
		return iptables(ctx, "", family, append([]string{"--wait", "10", "-t", table}, args...)...)
	}
	if run("-L", chain, "-n") != nil {
		return nil //nolint:nilerr // not there
	}
	for _, f := range from {
		for run("-D", f, "-j", chain) == nil {
			continue // it may have been added more than once
		}
	}
	return errors.Join(run("-F", chain), run("-X", chain))
}

func iptables(ctx context.Context, input, name string, args ...string) error {
	path, ok := host.Find(name)
	if !ok {
		return &fault.Error{Op: "set up the network", Err: fmt.Errorf("this machine has no %s", name), Hint: "apt-get install -y iptables"}
	}
	c := exec.CommandContext(ctx, path, args...)
	c.Stdin = strings.NewReader(input)
	var out bytes.Buffer
	c.Stderr = &out
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(out.String()))
	}
	return nil
}
