package git

import (
	"errors"
	"fmt"
	"os/exec"

	"golang.org/x/sys/unix"
)

// maxMemory bounds what one git process may allocate. A few kilobytes of deltas
// can describe gigabytes; without a bound such a push would be paid for by the
// whole machine. Files that git maps do not count.
const maxMemory = 2 << 30

// startLimited starts cmd under maxMemory, which what it starts inherits.
func startLimited(cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	limit := unix.Rlimit{Cur: maxMemory, Max: maxMemory}
	err := unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_DATA, &limit, nil)
	if err == nil || errors.Is(err, unix.ESRCH) { // it has ended already
		return nil
	}
	_ = cmd.Process.Kill()
	return errors.Join(fmt.Errorf("limit the memory of git: %w", err), cmd.Wait())
}
