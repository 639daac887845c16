// Package sandbox runs commands in containers over the host's own root file
// system: the host's tools are all there and no image is needed, root inside
// is an unprivileged user outside, and what is written is gone with the
// session. docs/exec.md says what a job can and cannot see and do.
//
// The pieces: policy and baselayer decide and carry out what of the host is
// shown; rootfs assembles the root in a mount namespace of its own; spec and
// runc start the agent (package agent) as the first process; network, firewall
// and forward connect it; session runs commands; sweep removes what a crash
// left behind.
package sandbox

import (
	"log/slog"
	"net/netip"

	"github.com/penstock-dev/penstock/internal/host/exec"
)

// Options of the runtime. Only Dir is needed.
type Options struct {
	// Dir is a private directory on a disk, for what sandboxes write.
	Dir string
	// Hide are further paths of the host that no sandbox sees: the data
	// directory, for one. A path below a mount of a session stays visible.
	Hide []string
	// Subnet is where sandboxes get their addresses, default 10.216.0.0/16.
	Subnet netip.Prefix
	// Deny are destinations that no sandbox reaches, beside the host itself,
	// link-local addresses and networks of other software on this machine;
	// default the cluster's Pods and Services, 10.214.0.0/16 and 10.215.0.0/16.
	Deny []netip.Prefix
	// Limits are those of a session that asks for none; zero fields mean three
	// quarters of the memory, all CPUs, 4096 processes.
	Limits exec.Limits
	// Log gets what nobody else hears of; default discards.
	Log *slog.Logger
}

// Finding is one thing that sandboxes need of the machine.
type Finding struct {
	Name string // what is needed: "runc"
	OK   bool
	Err  error  // why it is not there
	Hint string // what to do about it
}
