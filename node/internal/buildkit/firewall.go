//go:build linux

package buildkit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
)

// hook is one jump from a built-in chain into one of ours.
type hook struct{ table, from, to string }

func chains(o Options) (in, forward, nat string) {
	p := "PENSTOCK-" + o.Bridge // at most 24 of the 28 characters a chain may have
	return p + "-IN", p + "-FW", p + "-NT"
}

func hooks(o Options) []hook {
	in, fw, nt := chains(o)
	return []hook{{"filter", "INPUT", in}, {"filter", "FORWARD", fw}, {"nat", "POSTROUTING", nt}}
}

// rules renders our chains for iptables-restore. It is a pure function so that
// what a RUN step may reach can be read and tested in one place.
func rules(o Options) string {
	in, fw, nt := chains(o)
	br := o.Bridge
	deny := append([]netip.Prefix{
		netip.MustParsePrefix("127.0.0.0/8"),
		netip.MustParsePrefix("169.254.0.0/16"), // metadata services of clouds
		netip.MustParsePrefix("10.216.0.0/16"),  // sandboxes of CI jobs, which are none of the node's options
	}, o.Deny...)
	var b strings.Builder
	fmt.Fprintf(&b, "*filter\n:%s - [0:0]\n:%s - [0:0]\n", in, fw)
	// Nothing on this machine is for build steps, whatever address they call.
	fmt.Fprintf(&b, "-A %s -i %s -j REJECT --reject-with icmp-port-unreachable\n", in, br)
	for _, p := range deny {
		fmt.Fprintf(&b, "-A %s -i %s -d %s -j REJECT --reject-with icmp-net-unreachable\n", fw, br, p.Masked())
	}
	fmt.Fprintf(&b, "-A %s -i %s -o %s -j DROP\n", fw, br, br)
	fmt.Fprintf(&b, "-A %s -i %s -j ACCEPT\n", fw, br)
	fmt.Fprintf(&b, "-A %s -o %s -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n", fw, br)
	fmt.Fprintf(&b, "-A %s -o %s -j DROP\n", fw, br)
	fmt.Fprintf(&b, "COMMIT\n*nat\n:%s - [0:0]\n", nt)
	fmt.Fprintf(&b, "-A %s -s %s ! -d %s ! -o %s -j MASQUERADE\nCOMMIT\n", nt, o.Subnet, o.Subnet, br)
	return b.String()
}

// addRules puts our chains in place and hooks them in front of all others.
func addRules(ctx context.Context, o Options) error {
	if err := iptables(ctx, rules(o), "iptables-restore", "-w", "5", "--noflush"); err != nil {
		return err
	}
	for _, h := range hooks(o) {
		if iptables(ctx, "", "iptables", "-w", "5", "-t", h.table, "-C", h.from, "-j", h.to) == nil {
			continue
		}
		if err := iptables(ctx, "", "iptables", "-w", "5", "-t", h.table, "-I", h.from, "1", "-j", h.to); err != nil {
			return err
		}
	}
	return nil
}

// removeRules removes our chains and every jump into them.
func removeRules(ctx context.Context, o Options) error {
	var errs []error
	for _, table := range []string{"filter", "nat"} {
		out, err := exec.CommandContext(ctx, "iptables-save", "-t", table).Output()
		if err != nil {
			return fmt.Errorf("list packet filter rules: %w", err)
		}
		if undo := undoRules(string(out), table, o); undo != "" {
			errs = append(errs, iptables(ctx, undo, "iptables-restore", "-w", "5", "--noflush"))
		}
	}
	return errors.Join(errs...)
}

// undoRules reads the saved rules of one table and returns what removes ours,
// or nothing when there is none.
func undoRules(saved, table string, o Options) string {
	var jumps, flush, drop []string
	for _, h := range hooks(o) {
		if h.table != table {
			continue
		}
		for line := range strings.Lines(saved) {
			line = strings.TrimSpace(line)
			switch {
			case strings.HasPrefix(line, "-A ") && strings.HasSuffix(line, " -j "+h.to):
				jumps = append(jumps, "-D "+strings.TrimPrefix(line, "-A "))
			case strings.HasPrefix(line, ":"+h.to+" "):
				flush = append(flush, "-F "+h.to)
				drop = append(drop, "-X "+h.to)
			}
		}
	}
	if len(jumps)+len(drop) == 0 {
		return ""
	}
	all := append(append(jumps, flush...), drop...)
	return "*" + table + "\n" + strings.Join(all, "\n") + "\nCOMMIT\n"
}

func iptables(ctx context.Context, in string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(in)
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("set packet filter rules with %s: %w: %s", name, err, bytes.TrimSpace(errOut.Bytes()))
	}
	return nil
}
