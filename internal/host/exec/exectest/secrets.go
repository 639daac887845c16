//go:build linux

package exectest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/penstock-dev/penstock/internal/host/exec"
)

// secretPlaces are where a machine keeps what no job may see. The test puts a
// file with the mode into each, below a name of its own.
var secretPlaces = []struct {
	dir  string
	mode os.FileMode
}{
	{"/root", 0o644}, // keys and tokens of the administrator
	{"/root/.kube", 0o644},
	{"/home", 0o644},
	{"/run", 0o644}, // sockets of containerd, Docker, systemd, databases
	{"/run/containerd", 0o644},
	{"/tmp", 0o644},
	{"/var/tmp", 0o644},
	{"/var/lib", 0o644}, // Penstock's data, kubelet's, databases'
	{"/var/lib/penstock", 0o644},
	{"/var/lib/kubelet", 0o644},
	{"/var/lib/etcd", 0o644},
	{"/var/lib/containerd", 0o644},
	{"/var/log", 0o644},
	{"/srv", 0o644},
	{"/mnt", 0o644},
	{"/media", 0o644},
	{"/boot", 0o644},
	{"/etc", 0o600},
	{"/etc/kubernetes", 0o644},
	{"/etc/rancher", 0o644},
	{"/etc/docker", 0o644},
	{"/etc/ssl/private", 0o644},
	{"/etc/penstock", 0o644},
	{"/opt", 0o600},
	{"/usr/local/etc", 0o600},
}

const canary = "CANARY-OF-THE-HOST"

// plant puts the secrets in place for the time of the test, and a control
// socket beside each, and returns the paths.
func plant(t *testing.T) []string {
	t.Helper()
	var paths []string
	name := "penstock-" + ID()
	for _, p := range secretPlaces {
		makeDir(t, p.dir, name)
		file := filepath.Join(p.dir, name, "secret")
		if err := os.WriteFile(file, []byte(canary+"\n"), p.mode); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, file)
		if p.mode&0o004 == 0 {
			continue
		}
		socket := filepath.Join(p.dir, name, "control.sock")
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		if err := os.Chmod(socket, 0o666); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, socket)
	}
	return paths
}

// makeDir makes a directory of the test's own, and for its time those above it
// that the machine does not have.
func makeDir(t *testing.T, above, name string) {
	t.Helper()
	var missing []string
	for d := above; ; d = filepath.Dir(d) {
		if _, err := os.Stat(d); err == nil {
			break
		}
		missing = append(missing, d)
	}
	t.Cleanup(func() {
		os.RemoveAll(filepath.Join(above, name))
		for _, d := range missing {
			os.Remove(d) // unless somebody else uses it by now
		}
	})
	if err := os.MkdirAll(filepath.Join(above, name), 0o755); err != nil {
		t.Fatal(err)
	}
}

// alone waits until no other process runs the test: they would make and remove
// the same directories of the machine.
func alone(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(os.TempDir(), "penstock-exectest.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	eventually(t, "other tests have put the machine's directories back", func() bool {
		return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
	})
}

// Secrets looks for what the machine holds, by every way that leads there. The
// runtime has not opened a session yet: what it knows of the machine may be
// some seconds old.
func Secrets(t *testing.T, rt exec.Runtime) {
	alone(t)
	t.Setenv("PENSTOCK_TEST_SECRET", canary)
	paths := plant(t)
	neighbour := Open(t, rt)
	Must(t, neighbour, "echo "+canary+" > own; echo "+canary+" > /tmp/penstock-own; (NEIGHBOUR="+canary+" sleep 1000) >/dev/null 2>&1 &")
	s := Open(t, rt)
	var script strings.Builder
	for _, p := range paths {
		fmt.Fprintf(&script, "look %s\n", p)
	}
	script.WriteString("look /tmp/penstock-own\n")
	out := Must(t, s, `
look() {
	for f in "$1" "/proc/1/root$1" "/proc/1/cwd$1" "/proc/self/root/../..$1" /proc/[0-9]*/root"$1"; do
		if [ -e "$f" ]; then echo "there is $f"; fi
		if cat "$f" 2>/dev/null | grep `+canary[:6]+`; then echo "in $f"; fi
	done
}
`+script.String()+`
for f in /proc/[0-9]*/environ; do
	(tr '\0' '\n' < "$f") 2>/dev/null | grep "=`+canary+`" && echo "in $f"
done
env | grep `+canary+`
true`)
	if out != "" {
		t.Errorf("the session sees:\n%s", out)
	}
	// What it shows would be shown: this is how a secret is found.
	if out := Must(t, neighbour, "cat own /tmp/penstock-own"); strings.Count(out, canary) != 2 {
		t.Errorf("not even the owner finds the secret: %q", out)
	}
}

// kernel looks for what belongs to the machine as a whole.
func kernel(t *testing.T, rt exec.Runtime) {
	s := Open(t, rt)
	for name, script := range map[string]string{
		"mount":            "mount -t tmpfs none /mnt || mount -t tmpfs none /tmp",
		"unmount":          "umount /run/penstock/agent || umount /proc || umount -l /",
		"remount":          "mount -o remount,rw /sys",
		"user namespace":   "unshare -U true || unshare --user true",
		"network":          "unshare -n true || ip link add test type dummy || ip address add 10.216.0.77/32 dev eth0",
		"block device":     "mknod /tmp/disk b 254 0",
		"memory":           "mknod /tmp/mem c 1 1 && head -c 1 /tmp/mem",
		"disks":            "ls /dev | grep -E '^(vd|sd|nvme|dm-|loop|mapper|kvm|mem|kmsg|fuse)'",
		"kernel log":       "dmesg | grep .",
		"clock":            "date -s 2001-01-01; [ $(date +%Y) = 2001 ]",
		"host name":        "hostname other",
		"sysrq":            "echo b > /proc/sysrq-trigger",
		"kernel parameter": "echo 1 > /proc/sys/kernel/panic || echo 1 > /proc/sys/vm/drop_caches || echo x > /proc/sys/kernel/core_pattern",
		"more namespaces":  "echo 100 > /proc/sys/user/max_user_namespaces",
		"control groups":   "mkdir /sys/fs/cgroup/x",
		"physical memory":  "head -c 1 /proc/kcore | grep .",
		"keys":             "cat /proc/keys | grep .",
		"firmware":         "ls /sys/firmware | grep .",
		"first process":    "cat /proc/1/environ || readlink /proc/1/exe || ls /proc/1/root/",
		"its life":         "for s in STOP KILL TERM INT HUP QUIT USR1; do kill -$s 1; done; sleep 0.2; false",
		"its file":         "echo x >> /run/penstock/agent",
		"another one":      "/run/penstock/agent",
		"modules":          "modprobe dummy || insmod /tmp/x.ko",
		"firewall":         "iptables -F || iptables -P OUTPUT DROP",
	} {
		if out, code := Sh(t, s, "("+script+") 2>/dev/null"); code == 0 {
			t.Errorf("%s: allowed\n%s", name, out)
		}
	}
	if out := Must(t, s, "echo still here"); out != "still here\n" {
		t.Errorf("afterwards: %q", out)
	}
	if f := strings.Fields(Must(t, s, "cat /proc/self/uid_map")); len(f) < 2 || f[1] == "0" {
		t.Errorf("root inside is root outside: %v", f)
	}
	if out := Must(t, s, "hostname"); strings.TrimSpace(out) == hostName(t) {
		t.Error("the host's name is the session's")
	}
}

func hostName(t *testing.T) string {
	t.Helper()
	n, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// proxySettings of the machine are those of the session.
func proxySettings(t *testing.T, rt exec.Runtime) {
	t.Setenv("https_proxy", "http://proxy.example:3128")
	for _, kv := range Open(t, rt).Env() {
		if kv == "https_proxy=http://proxy.example:3128" {
			return
		}
	}
	t.Error("the proxy is not in the login environment")
}
