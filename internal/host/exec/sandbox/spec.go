//go:build linux

package sandbox

import (
	"fmt"
	"slices"
	"sync"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/penstock-dev/penstock/internal/host/exec"
	"github.com/penstock-dev/penstock/internal/host/exec/sandbox/wire"
)

// capabilities are what root inside may do, over what belongs to the sandbox:
// the set that container engines give by default.
var capabilities = []string{
	"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
	"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

// agentCapabilities are those of the agent before it has closed the door
// behind itself (package agent, confine).
var agentCapabilities = append(slices.Clone(capabilities), "CAP_SYS_RESOURCE")

// filter is the system call filter, made once: it is the same for all.
var filter = sync.OnceValues(func() (*specs.LinuxSeccomp, error) {
	f, err := seccomp.GetDefaultProfile(&specs.Spec{Process: &specs.Process{
		Capabilities: &specs.LinuxCapabilities{Bounding: capabilities},
	}})
	if err != nil {
		return nil, fmt.Errorf("make system call filter: %w", err)
	}
	// See confine in package agent for what stands in for this.
	f.Syscalls = slices.DeleteFunc(f.Syscalls, func(s specs.LinuxSyscall) bool {
		return slices.Contains(s.Names, "clone3")
	})
	f.Syscalls = append(f.Syscalls, specs.LinuxSyscall{Names: []string{"clone3"}, Action: specs.ActAllow})
	return f, nil
})

// container says what runc is to make.
type container struct {
	root     string
	base     int
	hostname string
	cgroup   string
	cgroupV2 bool
	limits   exec.Limits
}

func (c container) spec() (*specs.Spec, error) {
	filter, err := filter()
	if err != nil {
		return nil, err
	}
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: uint32(c.base), Size: idCount}}
	mounts := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=64k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "nodev", "mode=1777"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
	}
	namespaces := []specs.LinuxNamespace{
		{Type: specs.UserNamespace}, {Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace},
		{Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.MountNamespace},
	}
	if c.cgroupV2 {
		// So that programs that look for their memory limit find it. With
		// version 1 it would be a mount for each of ten controllers.
		namespaces = append(namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
		mounts = append(mounts, specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "ro"}})
	}
	score := 300 // a job is the first to go when the machine runs out of memory
	return &specs.Spec{
		Version:  "1.0.2",
		Hostname: c.hostname,
		Root:     &specs.Root{Path: c.root},
		Process: &specs.Process{
			Args:        []string{wire.AgentPath},
			Env:         []string{"PATH=" + loginPath, "HOME=/"},
			Cwd:         "/",
			OOMScoreAdj: &score,
			// A crash inside is nothing for the host's crash handler.
			Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_CORE"}},
			Capabilities: &specs.LinuxCapabilities{
				Bounding: agentCapabilities, Effective: agentCapabilities, Permitted: agentCapabilities,
			},
		},
		Mounts: mounts,
		Linux: &specs.Linux{
			UIDMappings: ids, GIDMappings: ids,
			Namespaces:  namespaces,
			CgroupsPath: c.cgroup,
			Resources:   resources(c.limits),
			Seccomp:     filter,
			MaskedPaths: []string{
				"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
				"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi",
				"/sys/firmware", "/sys/devices/virtual/powercap", "/sys/kernel",
			},
			// Not /proc/sys: there the kernel itself lets a sandbox's root
			// change only what belongs to the sandbox's own namespaces.
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sysrq-trigger"},
		},
	}, nil
}

// agentProcesses is what the agent adds to the session's processes: its
// threads, and those of the Go runtime below it.
const agentProcesses = 2 * wire.AgentThreads

func resources(l exec.Limits) *specs.LinuxResources {
	r := &specs.LinuxResources{
		Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}, // runc adds null, zero, random, tty, pts
	}
	if l.MemoryBytes > 0 {
		r.Memory = &specs.LinuxMemory{Limit: &l.MemoryBytes}
	}
	if l.Processes > 0 {
		most := l.Processes + agentProcesses
		r.Pids = &specs.LinuxPids{Limit: &most}
	}
	if l.CPUs > 0 {
		period := uint64(100_000)
		quota := int64(l.CPUs * float64(period))
		r.CPU = &specs.LinuxCPU{Period: &period, Quota: &quota}
	}
	return r
}
