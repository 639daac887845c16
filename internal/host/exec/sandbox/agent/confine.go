//go:build linux

package agent

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"github.com/penstock-dev/penstock/internal/host/exec/sandbox/wire"
)

const (
	capSysResource = 24
	prCapBSetDrop  = 24 // PR_CAPBSET_DROP
	capVersion3    = 0x20080522

	// confined is the argument of an agent that has been here before.
	confined = "confined"
)

// confine closes three doors before the first command runs. Commands may not
// make user namespaces of their own, where they would hold every capability
// over the kernel's network and mount code; that takes a capability which is
// then dropped. And they may not look into the agent, which for a moment holds
// files of the host (control groups, the pipes of other commands).
//
// clone3 can only be allowed or refused as a whole by a system call filter. It
// is allowed, because starting a process directly inside a control group
// needs it; this limit is what stands in for the filter.
func confine() error {
	if len(os.Args) > 1 && os.Args[1] == confined {
		return hide()
	}
	if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
		return fmt.Errorf("forbid further user namespaces: %w", err)
	}
	drop := syscall.AllThreadsSyscall
	_, _, e := drop(syscall.SYS_PRCTL, prCapBSetDrop, capSysResource, 0)
	again := e == syscall.ENOTSUP
	if again {
		// A build with cgo cannot reach all threads. One thread is enough if
		// the program then begins anew on it.
		runtime.LockOSThread()
		drop = syscall.RawSyscall
		_, _, e = drop(syscall.SYS_PRCTL, prCapBSetDrop, capSysResource, 0)
	}
	if e != 0 {
		return fmt.Errorf("drop resource capability from the bounding set: %w", e)
	}
	head := struct {
		version uint32
		pid     int32
	}{version: capVersion3}
	var data [2]struct{ effective, permitted, inheritable uint32 }
	//nolint:gosec // structures of the kernel, as capget(2) has them
	if _, _, e := syscall.RawSyscall(syscall.SYS_CAPGET, uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&data[0])), 0); e != 0 {
		return fmt.Errorf("read capabilities: %w", e)
	}
	for _, set := range []*uint32{&data[0].effective, &data[0].permitted, &data[0].inheritable} {
		*set &^= 1 << capSysResource
	}
	//nolint:gosec // as above
	if _, _, e := drop(syscall.SYS_CAPSET, uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&data[0])), 0); e != 0 {
		return fmt.Errorf("drop resource capability: %w", e)
	}
	if again {
		return syscall.Exec(wire.AgentPath, []string{wire.AgentPath, confined}, os.Environ())
	}
	return hide()
}

// hide keeps other processes of the sandbox from tracing the agent and from
// reading its /proc entries. Commands get their own value when they start.
func hide() error {
	if _, _, e := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, 0, 0); e != 0 {
		return fmt.Errorf("hide from other processes: %w", e)
	}
	return nil
}
