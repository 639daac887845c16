// Package doctor looks at this machine before Penstock starts on it and says
// what is missing and which command puts it right.
package doctor

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// State of one check.
type State string

// The states, from good to bad. A warning does not keep Penstock from
// starting.
const (
	OK   State = "ok"
	Warn State = "warning"
	Fail State = "failed"
)

// Finding is the outcome of one check.
type Finding struct {
	Check  string `json:"check"`
	State  State  `json:"state"`
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"` // a command, or what to change
}

// Machine is what the checks look at. [Host] is the real one.
type Machine struct {
	Root   bool
	Look   func(program string) (path string, err error)
	Read   func(path string) ([]byte, error)
	Exists func(path string) bool
	// Free tells how many bytes may still be written below dir.
	Free func(dir string) (uint64, error)
	// Listen says why addr cannot be listened on, nil when it can.
	Listen func(ctx context.Context, addr string) error
	// Usable says why dir (or the nearest directory above it that exists)
	// cannot hold Penstock's data, nil when it can.
	Usable func(dir string) error
}

// program that must be there, and the Debian package that brings it.
type program struct {
	name, pkg, why string
	places         []string // looked at beside PATH
}

var programs = []program{
	{"containerd", "containerd", "runs the containers of the embedded node", nil},
	{"runc", "runc", "starts containers and CI sandboxes", nil},
	{"bridge", "containernetworking-plugins", "connects Pods to the network", []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"}},
	{"iptables", "iptables", "routes Services and isolates sandboxes", nil},
	{"ip", "iproute2", "sets up network interfaces", nil},
	{"conntrack", "conntrack", "lets Services forget ended connections", nil},
	{"mount", "mount", "mounts volumes", nil},
	{"git", "git", "serves repositories", nil},
}

// minFree is how much room a start needs at least.
const minFree = 2 << 30

// Options says what will be used.
type Options struct {
	DataDir string
	Listen  []string // addresses that must be free; empty when Penstock already runs
}

// Check runs all checks and returns what they found, in a fixed order.
func Check(ctx context.Context, m Machine, o Options) []Finding {
	out := []Finding{checkRoot(m)}
	out = append(out, checkPrograms(m)...)
	out = append(out, checkKernel(m)...)
	out = append(out, checkDisk(m, o.DataDir)...)
	for _, addr := range o.Listen {
		f := Finding{Check: "port " + addr, State: OK, Detail: "free"}
		if err := m.Listen(ctx, addr); err != nil {
			f = Finding{f.Check, Fail, err.Error(), "stop what listens there (ss -ltnp 'sport = :" + addr[strings.LastIndexByte(addr, ':')+1:] + "'), or choose another port: penstock up --help"}
		}
		out = append(out, f)
	}
	return out
}

// Failed returns the findings that keep Penstock from starting.
func Failed(findings []Finding) []Finding {
	return slices.DeleteFunc(slices.Clone(findings), func(f Finding) bool { return f.State != Fail })
}

func checkRoot(m Machine) Finding {
	if m.Root {
		return Finding{Check: "root", State: OK, Detail: "running as root"}
	}
	return Finding{"root", Fail, "the embedded node needs root for namespaces, mounts and the network", "sudo penstock up"}
}

func checkPrograms(m Machine) []Finding {
	var out []Finding
	var missing []string
	for _, p := range programs {
		path := find(m, p)
		f := Finding{Check: p.name, State: OK, Detail: path}
		if path == "" {
			f = Finding{Check: p.name, State: Fail, Detail: "not installed: " + p.why}
			if !slices.Contains(missing, p.pkg) {
				missing = append(missing, p.pkg)
			}
		}
		out = append(out, f)
	}
	for i := range out {
		if out[i].State == Fail {
			out[i].Fix = InstallCommand(missing)
		}
	}
	return out
}

// InstallCommand is the one command that installs packages on Debian and
// Ubuntu.
func InstallCommand(packages []string) string {
	return "apt-get install -y --no-install-recommends " + strings.Join(packages, " ")
}

func find(m Machine, p program) string {
	if p.places == nil {
		if path, err := m.Look(p.name); err == nil {
			return path
		}
		// A user's PATH often lacks the directories of system programs.
		p.places = []string{"/usr/sbin", "/sbin", "/usr/local/sbin"}
	}
	for _, dir := range p.places {
		if path := filepath.Join(dir, p.name); m.Exists(path) {
			return path
		}
	}
	return ""
}

func checkKernel(m Machine) []Finding {
	f := Finding{Check: "overlayfs", State: OK, Detail: "supported"}
	fs, err := m.Read("/proc/filesystems")
	if err != nil || !slices.Contains(strings.Fields(string(fs)), "overlay") {
		f = Finding{f.Check, Fail, "the kernel offers no overlay file system", "modprobe overlay"}
	}
	out := []Finding{f}
	f = Finding{Check: "cgroups", State: OK}
	switch {
	case m.Exists("/sys/fs/cgroup/cgroup.controllers"):
		f.Detail = "version 2"
	case m.Exists("/sys/fs/cgroup/memory"):
		f.Detail = "version 1 (hybrid)"
	default:
		f = Finding{f.Check, Fail, "no control groups under /sys/fs/cgroup", "mount -t cgroup2 none /sys/fs/cgroup"}
	}
	return append(out, f)
}

func checkDisk(m Machine, dir string) []Finding {
	if err := m.Usable(dir); err != nil {
		return []Finding{{"data directory", Fail, err.Error(), "choose another one with --data-dir"}}
	}
	out := []Finding{{Check: "data directory", State: OK, Detail: dir}}
	free, err := m.Free(dir)
	switch {
	case err != nil:
		return append(out, Finding{"disk", Warn, err.Error(), ""})
	case free < minFree:
		return append(out, Finding{"disk", Fail, fmt.Sprintf("%.1f GiB free under %s, %d GiB needed", float64(free)/(1<<30), dir, minFree>>30), "free some space, or choose another place with --data-dir"})
	}
	return append(out, Finding{Check: "disk", State: OK, Detail: fmt.Sprintf("%.0f GiB free", float64(free)/(1<<30))})
}

// Host returns the machine that this process runs on.
func Host() Machine {
	return Machine{
		Root:   os.Geteuid() == 0,
		Look:   exec.LookPath,
		Read:   os.ReadFile,
		Exists: func(p string) bool { _, err := os.Stat(p); return err == nil },
		Free:   free,
		Listen: tryListen,
		Usable: usable,
	}
}
