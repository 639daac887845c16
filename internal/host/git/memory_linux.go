package git

import (
	"os/exec"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxMemory bounds what one git process may allocate. A few kilobytes of deltas
// can describe gigabytes; without a bound such a push would be paid for by the
// whole machine. Files that git maps do not count.
const maxMemory = 2 << 30

// limitMemory makes cmd start under maxMemory, and all that it starts. The limit
// is set before git exists, by a shell that becomes it: set from outside, it
// would miss what git has started by then.
func limitMemory(cmd *exec.Cmd) {
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_DATA, &now); err == nil && now.Max <= maxMemory {
		return // it is bound already, and a bound cannot be raised
	}
	kib := strconv.Itoa(maxMemory >> 10)
	args := append([]string{"sh", "-c", `ulimit -d "$0" && exec "$@"`, kib, cmd.Path}, cmd.Args[1:]...)
	cmd.Path, cmd.Args = "/bin/sh", args
}
