package exec

import (
	"syscall"
	"time"
)

// The waits of GitHub's runner between the three signals.
const (
	interruptGrace = 7500 * time.Millisecond
	terminateGrace = 2500 * time.Millisecond
)

// Escalate stops one command: interrupt, grace, terminate, grace, kill. It
// returns when exited is closed, which kill must bring about.
//
// signal reaches the command's process group, as Ctrl-C in a terminal does; a
// program that leaves the group is only reached by kill, which ends the
// command with all its descendants.
func Escalate(grace time.Duration, exited <-chan struct{}, signal func(syscall.Signal), kill func()) {
	first, second := interruptGrace, terminateGrace
	if grace > 0 {
		first, second = grace, grace
	}
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGINT, first}, {syscall.SIGTERM, second}} {
		signal(step.signal)
		if closedWithin(exited, step.wait) {
			break
		}
	}
	// Even a command that left when asked may have left descendants.
	kill()
	<-exited
}

func closedWithin(c <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c:
		return true
	case <-t.C:
		return false
	}
}
