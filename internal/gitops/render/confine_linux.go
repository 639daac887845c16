package render

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"
)

// Limits of a worker process.
const (
	workerCPUSeconds = 120
	workerFiles      = 256
	nobody           = 65534
)

// confine takes from this process what rendering does not need, and returns
// the new name of base. Root moves into base and becomes nobody; without root,
// or as a root that may not (in a container without capabilities), the file
// system is confined by os.Root alone.
func confine(base string, memory uint64) (string, error) {
	if os.Geteuid() == 0 {
		switch err := unix.Chroot(base); {
		case err == nil:
			if err := unix.Chdir("/"); err != nil {
				return "", err
			}
			base = "/"
		case !errors.Is(err, unix.EPERM):
			return "", fmt.Errorf("change root to %s: %w", base, err)
		}
		// syscall's versions act on every thread of the process.
		for _, drop := range []func() error{
			func() error { return syscall.Setgroups(nil) },
			func() error { return syscall.Setgid(nobody) },
			func() error { return syscall.Setuid(nobody) },
		} {
			if err := drop(); err != nil && !errors.Is(err, unix.EPERM) {
				return "", fmt.Errorf("become nobody: %w", err)
			}
		}
	}
	limits := map[int]uint64{
		unix.RLIMIT_CPU:    workerCPUSeconds,
		unix.RLIMIT_NOFILE: workerFiles,
		unix.RLIMIT_FSIZE:  0,
		unix.RLIMIT_CORE:   0,
	}
	if memory > 0 {
		debug.SetMemoryLimit(int64(memory / 4 * 3))
		limits[unix.RLIMIT_DATA] = memory
	}
	for what, n := range limits {
		if err := unix.Setrlimit(what, &unix.Rlimit{Cur: n, Max: n}); err != nil {
			return "", fmt.Errorf("set limit %d: %w", what, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return "", fmt.Errorf("give up new privileges: %w", err)
	}
	return base, nil
}

// isolate gives cmd a network of its own, without a way out. Users other than
// root need a user namespace for that; isolated says what cmd will get.
func isolate(cmd *exec.Cmd) (isolated bool) {
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Setpgid: true}
	if os.Geteuid() != 0 {
		if !userNamespaces() {
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			return false
		}
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
	return true
}

// userNamespaces says whether this user may make user namespaces.
func userNamespaces() bool {
	for _, f := range []string{"/proc/sys/kernel/unprivileged_userns_clone", "/proc/sys/user/max_user_namespaces"} {
		if b, err := os.ReadFile(f); err == nil && len(b) > 0 && b[0] == '0' {
			return false
		}
	}
	if b, err := os.ReadFile("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"); err == nil && len(b) > 0 && b[0] == '1' {
		return false
	}
	return true
}
