package host

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/node/internal/fault"
)

func TestParseCgroupMounts(t *testing.T) {
	for name, tc := range map[string]struct {
		mounts string
		v2     bool
		want   []string
	}{
		"v2":     {"proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n", true, []string{"/sys/fs/cgroup"}},
		"hybrid": {"tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\ncgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n", false, []string{"/sys/fs/cgroup/cpu,cpuacct"}},
		"none":   {"proc /proc proc rw 0 0\nshort line\n", false, nil},
		"other":  {"cgroup2 /run/build/cgroup cgroup2 rw 0 0\n", false, nil},
	} {
		v2, got := parseCgroupMounts([]byte(tc.mounts))
		if v2 != tc.v2 || !slices.Equal(got, tc.want) {
			t.Errorf("%s: v2 %t, %v; want %t, %v", name, v2, got, tc.v2, tc.want)
		}
	}
}

func TestPluginDir(t *testing.T) {
	root := t.TempDir()
	some, all := filepath.Join(root, "some"), filepath.Join(root, "all")
	for dir, names := range map[string][]string{some: {"bridge", "loopback"}, all: plugins} {
		for _, n := range names {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, n), nil, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got, err := pluginDir([]string{filepath.Join(root, "none"), some, all}); err != nil || got != all {
		t.Errorf("got %s, %v", got, err)
	}
	if _, err := pluginDir([]string{filepath.Join(root, "none"), some}); err == nil || err.Error() != "CNI plugins host-local, portmap" {
		t.Errorf("got %v", err)
	}
}

func TestRefusalNamesEachPackageOnce(t *testing.T) {
	err := refusal([]missingPart{{"containerd", "containerd"}, {"containerd-shim-runc-v2", "containerd"}, {"runc", "runc"}})
	if got := fault.Hint(err); got != "apt-get install -y containerd runc" {
		t.Errorf("hint %q", got)
	}
	if !strings.Contains(err.Error(), "no containerd, no containerd-shim-runc-v2, no runc") {
		t.Errorf("error %q", err)
	}
}
