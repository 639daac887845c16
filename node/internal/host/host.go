// Package host knows the facts about the machine that the node's configuration
// depends on, and says what is missing and how to install it.
package host

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/penstock-dev/penstock/node/internal/fault"
)

// Facts about the machine.
type Facts struct {
	CgroupV2    bool // one unified hierarchy; else v1 or hybrid
	SysResource bool // CAP_SYS_RESOURCE: may lower an oom_score_adj
	AppArmor    bool
	BridgeNF    bool // bridged packets pass through iptables
	Containerd  string
	Runc        string
	CNIBin      string
}

// Binaries that the node runs, with the Debian package that has them.
var binaries = []struct{ name, pkg string }{
	{"containerd", "containerd"},
	{"containerd-shim-runc-v2", "containerd"},
	{"runc", "runc"},
	{"iptables", "iptables"},
	{"iptables-restore", "iptables"},
	{"conntrack", "conntrack"},
	{"mount", "mount"},
	{"umount", "mount"},
}

// CNI plugins that the node needs.
var plugins = []string{"bridge", "host-local", "loopback", "portmap"}

// sbin is searched too: root's PATH often lacks it in services and containers.
var sbin = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// pluginDirs are where distributions put CNI plugins.
var pluginDirs = []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"}

// Look collects the facts and refuses a machine that cannot run a node.
func Look() (Facts, error) {
	var f Facts
	if os.Geteuid() != 0 {
		return f, &fault.Error{Op: "run a node", Err: fmt.Errorf("%w: it needs root for namespaces, mounts and the network", fault.ErrForbidden), Hint: "sudo penstock-node run …"}
	}
	found, missing := lookup()
	f.Containerd, f.Runc = found["containerd"], found["runc"]
	var err error
	f.CNIBin, err = pluginDir(pluginDirs)
	if err != nil {
		missing = append(missing, missingPart{err.Error(), "containernetworking-plugins"})
	}
	if len(missing) > 0 {
		return f, refusal(missing)
	}
	if err := cgroups(&f); err != nil {
		return f, err
	}
	f.SysResource = hasCapability(unix.CAP_SYS_RESOURCE)
	if b, err := os.ReadFile("/sys/module/apparmor/parameters/enabled"); err == nil {
		f.AppArmor = bytes.HasPrefix(b, []byte("Y")) && executable("apparmor_parser")
	}
	f.BridgeNF = bridgeNF()
	return f, nil
}

type missingPart struct{ what, pkg string }

func lookup() (found map[string]string, missing []missingPart) {
	found = map[string]string{}
	for _, b := range binaries {
		p, ok := Find(b.name)
		if !ok {
			missing = append(missing, missingPart{b.name, b.pkg})
		}
		found[b.name] = p
	}
	return found, missing
}

// Find returns the path of an executable, also from the sbin directories.
func Find(name string) (string, bool) {
	if p, err := exec.LookPath(name); err == nil {
		return p, true
	}
	for _, d := range sbin {
		p := filepath.Join(d, name)
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return p, true
		}
	}
	return "", false
}

func executable(name string) bool { _, ok := Find(name); return ok }

func pluginDir(dirs []string) (string, error) {
	var best []string
	for _, d := range dirs {
		var lacks []string
		for _, p := range plugins {
			if st, err := os.Stat(filepath.Join(d, p)); err != nil || st.IsDir() {
				lacks = append(lacks, p)
			}
		}
		if len(lacks) == 0 {
			return d, nil
		}
		if best == nil || len(lacks) < len(best) {
			best = lacks
		}
	}
	return "", fmt.Errorf("CNI plugins %s", strings.Join(best, ", "))
}

func refusal(missing []missingPart) error {
	var what, pkgs []string
	seen := map[string]bool{}
	for _, m := range missing {
		what = append(what, m.what)
		if !seen[m.pkg] {
			seen[m.pkg] = true
			pkgs = append(pkgs, m.pkg)
		}
	}
	return &fault.Error{Op: "run a node", Err: fmt.Errorf("this machine has no %s", strings.Join(what, ", no ")),
		Hint: "apt-get install -y " + strings.Join(pkgs, " ")}
}

// cgroups finds the hierarchies.
func cgroups(f *Facts) error {
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return fmt.Errorf("read the mounts: %w", err)
	}
	v2, mounts := parseCgroupMounts(b)
	if len(mounts) == 0 {
		return &fault.Error{Op: "run a node", Err: errors.New("no cgroup hierarchy is mounted"), Hint: "mount -t cgroup2 cgroup2 /sys/fs/cgroup"}
	}
	f.CgroupV2 = v2
	if v2 {
		return nil
	}
	have := map[string]bool{}
	for _, m := range mounts {
		for c := range strings.SplitSeq(filepath.Base(m), ",") {
			have[c] = true
		}
	}
	for _, c := range []string{"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer"} {
		if !have[c] {
			return &fault.Error{Op: "run a node", Err: fmt.Errorf("the cgroup controller %s is not mounted", c), Hint: "enable it in the kernel, or boot with systemd.unified_cgroup_hierarchy=1"}
		}
	}
	return nil
}

// parseCgroupMounts reads /proc/self/mounts. On v2 /sys/fs/cgroup itself is the
// hierarchy; on v1 and hybrid each v1 hierarchy is below it.
func parseCgroupMounts(b []byte) (v2 bool, mounts []string) {
	sc := bufio.NewScanner(bytes.NewReader(b))
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		if len(f) < 4 {
			continue
		}
		switch {
		case f[2] == "cgroup2" && f[1] == "/sys/fs/cgroup":
			return true, []string{f[1]}
		case f[2] == "cgroup" && strings.HasPrefix(f[1], "/sys/fs/cgroup/") && !strings.Contains(f[3], "name="):
			mounts = append(mounts, f[1])
		}
	}
	return false, mounts
}

func hasCapability(c uint) bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return false
	}
	return data[c/32].Effective&(1<<(c%32)) != 0
}

// bridgeNF says whether bridged packets pass through iptables, loading the
// module where that is needed and possible.
func bridgeNF() bool {
	const dir = "/proc/sys/net/bridge"
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if p, ok := Find("modprobe"); ok {
			_ = exec.Command(p, "br_netfilter").Run() // the result is looked at below
		}
	}
	_, err := os.Stat(dir)
	return err == nil
}
