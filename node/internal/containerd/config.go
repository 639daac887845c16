package containerd

import (
	"fmt"
	"strings"
)

// Params are what the configuration depends on.
type Params struct {
	Root, State string
	Socket      string
	CNIBin      string
	CNIConf     string
	Runc        string
	PauseImage  string
	HostsDir    string // says where images of each registry come from
	// RestrictOOM is needed without CAP_SYS_RESOURCE: the kernel then refuses
	// to lower the score that Kubernetes wants for the sandbox.
	RestrictOOM bool
	AppArmor    bool
}

// Config returns containerd's configuration. Version 2 is read by every
// containerd from 1.3 to 2.x.
func Config(p Params) string {
	var b strings.Builder
	w := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	w("# Written by penstock-node at each start.")
	w("version = 2")
	w("root = %q", p.Root)
	w("state = %q", p.State)
	w("oom_score = 0")
	w("disabled_plugins = [")
	for _, plugin := range []string{
		"io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp",
		"io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
		"io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.native", "io.containerd.snapshotter.v1.blockfile",
	} {
		w("  %q,", plugin)
	}
	w("]")
	w("")
	w("[grpc]")
	w("  address = %q", p.Socket)
	w("  uid = 0")
	w("  gid = 0")
	w("")
	w("[debug]")
	w("  level = \"warn\"")
	w("")
	w("[plugins.\"io.containerd.grpc.v1.cri\"]")
	w("  sandbox_image = %q", p.PauseImage)
	w("  stream_server_address = \"127.0.0.1\"")
	w("  stream_server_port = \"0\"")
	w("  enable_selinux = false")
	w("  enable_unprivileged_ports = true")
	w("  enable_unprivileged_icmp = true")
	w("  disable_apparmor = %t", !p.AppArmor)
	w("  restrict_oom_score_adj = %t", p.RestrictOOM)
	w("  tolerate_missing_hugetlb_controller = true")
	w("  netns_mounts_under_state_dir = true")
	w("  max_concurrent_downloads = 3")
	w("")
	w("  [plugins.\"io.containerd.grpc.v1.cri\".cni]")
	w("    bin_dir = %q", p.CNIBin)
	w("    conf_dir = %q", p.CNIConf)
	w("    max_conf_num = 1")
	w("")
	w("  [plugins.\"io.containerd.grpc.v1.cri\".registry]")
	w("    config_path = %q", p.HostsDir)
	w("")
	w("  [plugins.\"io.containerd.grpc.v1.cri\".containerd]")
	w("    snapshotter = \"overlayfs\"")
	w("    default_runtime_name = \"runc\"")
	w("")
	w("    [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]")
	w("      runtime_type = \"io.containerd.runc.v2\"")
	w("")
	w("      [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]")
	w("        BinaryName = %q", p.Runc)
	w("        SystemdCgroup = false")
	return b.String()
}
