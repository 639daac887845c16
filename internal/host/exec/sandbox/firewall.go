//go:build linux

package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The chains are ours alone; everything else in the tables is left as it is.
const (
	chainIn      = "PENSTOCK-CI-IN"      // sandbox to the host itself
	chainForward = "PENSTOCK-CI-FORWARD" // sandbox to anywhere else, and back
	chainNAT     = "PENSTOCK-CI-NAT"
	chainSource  = "PENSTOCK-CI-SOURCE" // whether a packet's source is the sandbox's own
	chainMark    = "PENSTOCK-CI-MARK"   // takes marks away by which others let packets through
)

// kubeMark is what kube-proxy puts on packets to Services before it forwards
// them. Its chains come before ours from its start until the next look at the
// rules, so a packet must not carry the mark when it gets there.
const kubeMark = "0x4000"

// localNetworks are interfaces behind which other software keeps networks of
// its own on this machine. A trailing + means any ending.
var localNetworks = []string{
	"docker+", "br-+", "virbr+", "vnet+", "cni+", "cali+", "cilium+", "flannel+", "veth+", "lxc+", "lxdbr+",
	"podman+", "nerdctl+", "kube-+", "penstock+", interfacePrefix + "+",
}

// linkLocal is where clouds keep their metadata service, which hands out
// credentials of the machine.
var linkLocal = netip.MustParsePrefix("169.254.0.0/16")

// rule is one rule in one of the tables' own chains that leads into ours.
type rule struct{ table, chain, match string }

func (n networks) jumps() []rule {
	out := []rule{
		{"raw", "PREROUTING", "-i " + interfacePrefix + "+ -j " + chainSource},
		{"mangle", "FORWARD", "-i " + interfacePrefix + "+ -j " + chainMark},
		{"filter", "INPUT", "-i " + interfacePrefix + "+ -j " + chainIn},
		{"filter", "FORWARD", "-i " + interfacePrefix + "+ -j " + chainForward},
		{"filter", "FORWARD", "-o " + interfacePrefix + "+ -j " + chainForward},
	}
	for _, s := range n.Subnets {
		out = append(out, rule{"nat", "POSTROUTING", "-s " + s.Masked().String() + " -j " + chainNAT})
	}
	return out
}

// networks is what the rules are made of: that of all runtimes of the machine,
// whose sandboxes share the chains.
type networks struct {
	Subnets []netip.Prefix // of the sandboxes
	Deny    []netip.Prefix // destinations that are refused
}

// join adds what other has.
func (n networks) join(other networks) networks {
	return networks{Subnets: union(n.Subnets, other.Subnets), Deny: union(n.Deny, other.Deny)}
}

// covers says whether n has everything that other has.
func (n networks) covers(other networks) bool {
	all := n.join(other)
	return len(all.Subnets) == len(n.Subnets) && len(all.Deny) == len(n.Deny)
}

func union(a, b []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range slices.Concat(a, b) {
		if p = p.Masked(); !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// rules is the input of iptables-restore --noflush that makes our chains what
// they have to be. It says nothing about other chains.
func (n networks) rules() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("*filter")
	line(":%s - [0:0]", chainIn)
	line(":%s - [0:0]", chainForward)
	line("-A %s -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT", chainIn)
	line("-A %s -p tcp -j REJECT --reject-with tcp-reset", chainIn)
	line("-A %s -j REJECT", chainIn)
	line("-A %s -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT", chainForward)
	refuse := func(match string) {
		line("-A %s -i %s+ %s -p tcp -j REJECT --reject-with tcp-reset", chainForward, interfacePrefix, match)
		line("-A %s -i %s+ %s -j REJECT", chainForward, interfacePrefix, match)
	}
	for _, i := range localNetworks {
		refuse("-o " + i)
	}
	for _, p := range slices.Concat([]netip.Prefix{linkLocal}, n.Subnets, n.Deny) {
		refuse("-d " + p.Masked().String())
	}
	line("-A %s -i %s+ -j ACCEPT", chainForward, interfacePrefix)
	line("-A %s -j REJECT", chainForward) // new connections into a sandbox
	line("COMMIT")
	line("*raw")
	line(":%s - [0:0]", chainSource)
	// The kernel's own filter is on for each link, but a machine-wide setting
	// can make it a loose one.
	line("-A %s -m rpfilter --invert -j DROP", chainSource)
	line("COMMIT")
	line("*mangle")
	line(":%s - [0:0]", chainMark)
	line("-A %s -j MARK --set-xmark 0x0/%s", chainMark, kubeMark)
	line("COMMIT")
	line("*nat")
	line(":%s - [0:0]", chainNAT)
	line("-A %s ! -o %s+ -j MASQUERADE", chainNAT, interfacePrefix)
	line("COMMIT")
	return b.String()
}

// missingJumps says which jumps a dump of the tables lacks. They must come
// before anything that another program put into the chain, or a verdict there
// would come first.
func missingJumps(saved string, want []rule) []rule {
	table := ""
	first := map[string]bool{} // "table chain": only jumps of ours so far
	have := map[rule]bool{}
	for l := range strings.Lines(saved) {
		l = strings.TrimSpace(l)
		if t, ok := strings.CutPrefix(l, "*"); ok {
			table = t
			continue
		}
		rest, ok := strings.CutPrefix(l, "-A ")
		if !ok {
			continue
		}
		chain, match, _ := strings.Cut(rest, " ")
		key := table + " " + chain
		r := rule{table, chain, match}
		if ours(r, want) {
			if !first[key] {
				have[r] = true
			}
			continue
		}
		first[key] = true
	}
	var missing []rule
	for _, r := range want {
		if !have[r] {
			missing = append(missing, r)
		}
	}
	return missing
}

func ours(r rule, want []rule) bool {
	for _, w := range want {
		if r == w {
			return true
		}
	}
	return false
}

// firewall keeps the rules in place while sessions are open.
type firewall struct {
	own networks
	mu  sync.Mutex
}

// rulesMark names the file that holds the networks whose rules are in place,
// and whose time is when they were last seen there. Whoever removes the rules
// removes it first, holding the machine's lock while no slot is taken: so
// whoever holds a slot and sees the mark may believe it. Rules belong to a
// network namespace, so the mark does too: to its cookie, which no other one
// ever has.
func rulesMark() (string, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("identify network namespace: %w", err)
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return "", fmt.Errorf("identify network namespace: %w", err)
	}
	return fmt.Sprintf("%s/rules-%d", machineDir, cookie), nil
}

// recheck is how long rules are believed to be in place: a firewall manager
// that reloads throws away what it did not make.
const recheck = 30 * time.Second

// ensure puts the rules in place unless they were there a moment ago.
func (f *firewall) ensure(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if there, seen := inPlace(); time.Since(seen).Abs() < recheck && there.covers(f.own) {
		return nil
	}
	return withMachineLock(ctx, func() error {
		there, _ := inPlace()
		return there.join(f.own).put(ctx)
	})
}

// inPlace reads the mark.
func inPlace() (n networks, seen time.Time) {
	mark, err := rulesMark()
	if err != nil {
		return networks{}, time.Time{} // nobody knows; put says why
	}
	fi, err := os.Stat(mark)
	if err != nil || json.Unmarshal([]byte(readText(mark)), &n) != nil {
		return networks{}, time.Time{}
	}
	return n, fi.ModTime()
}

// put puts the rules in place. The caller holds the machine's lock.
func (n networks) put(ctx context.Context) error {
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return fmt.Errorf("allow forwarding: %w", err)
	}
	if _, err := iptables(ctx, n.rules(), "iptables-restore", "--noflush", "--wait=10"); err != nil {
		return fmt.Errorf("set firewall rules: %w", err)
	}
	saved, err := iptables(ctx, "", "iptables-save")
	if err != nil {
		return fmt.Errorf("read firewall rules: %w", err)
	}
	for _, r := range missingJumps(saved, n.jumps()) {
		// A copy further down would do no harm, but nothing is to pile up.
		_ = remove(ctx, r)
		if _, err := iptables(ctx, "", "iptables", append([]string{"--wait=10", "-t", r.table, "-I", r.chain, "1"}, strings.Fields(r.match)...)...); err != nil {
			return fmt.Errorf("set firewall rules: %w", err)
		}
	}
	data, err := json.Marshal(n)
	if err != nil {
		return err
	}
	mark, err := rulesMark()
	if err != nil {
		return err
	}
	if err := os.WriteFile(mark, data, 0o600); err != nil {
		return fmt.Errorf("note firewall rules: %w", err)
	}
	return nil
}

// watch keeps the rules in place until ctx ends.
func (f *firewall) watch(ctx context.Context, log *slog.Logger) {
	t := time.NewTicker(recheck)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if err := f.ensure(ctx); err != nil && ctx.Err() == nil {
			log.Error("firewall rules of sandboxes", "error", err)
		}
	}
}

// clearRules removes the rules. The caller holds the machine's lock and knows
// that no sandbox is open.
func clearRules(ctx context.Context, own networks) error {
	there, _ := inPlace()
	mark, err := rulesMark()
	if err != nil {
		return err
	}
	if err := os.Remove(mark); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if _, err := tool("iptables-save"); err != nil {
		return nil //nolint:nilerr // then there are no rules of ours either
	}
	saved, err := iptables(ctx, "", "iptables-save")
	if err != nil {
		return fmt.Errorf("read firewall rules: %w", err)
	}
	var errs []error
	for _, r := range there.join(own).jumps() {
		// All copies, should there be several.
		for range strings.Count(saved, "-A "+r.chain+" "+r.match+"\n") {
			errs = append(errs, remove(ctx, r))
		}
	}
	for _, c := range []rule{{table: "filter", chain: chainIn}, {table: "filter", chain: chainForward}, {table: "nat", chain: chainNAT}, {table: "raw", chain: chainSource}, {table: "mangle", chain: chainMark}} {
		if !strings.Contains(saved, ":"+c.chain+" ") {
			continue
		}
		for _, op := range []string{"-F", "-X"} {
			_, err := iptables(ctx, "", "iptables", "--wait=10", "-t", c.table, op, c.chain)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func remove(ctx context.Context, r rule) error {
	_, err := iptables(ctx, "", "iptables", append([]string{"--wait=10", "-t", r.table, "-D", r.chain}, strings.Fields(r.match)...)...)
	return err
}

func iptables(ctx context.Context, in, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	program, err := tool(name)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, program, args...)
	var out, errw bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(in), &out, &errw
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(errw.String()))
	}
	return out.String(), nil
}
