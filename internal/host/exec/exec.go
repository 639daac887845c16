// Package exec is where commands run: CI jobs, scanners, render plugins. A
// [Runtime] opens a [Session], one isolated place with a workspace, and the
// session runs commands in it one after another or side by side.
//
// Two runtimes exist: process (the invoking user, no isolation, and it says
// so) and sandbox (a container over the host's own root file system). Every
// runtime passes the conformance test in package exectest.
package exec

import (
	"context"
	"io"
	"time"
)

// Runtime opens sessions.
type Runtime interface {
	// Name is "process" or "sandbox".
	Name() string
	// Open prepares a session. The caller closes it. An error says what is
	// missing on this machine and carries a hint.
	Open(ctx context.Context, spec SessionSpec) (Session, error)
}

// SessionSpec says what a session may see and use.
type SessionSpec struct {
	// ID names the session on this machine: [a-z0-9-]{1,40}. A session that
	// was left behind under the same ID by a crash is removed first.
	ID string
	// Workspace is a host directory that appears under the same path inside,
	// writable. It is where commands start.
	Workspace string
	// Mounts are further host paths, visible under the same or another path.
	Mounts []Mount
	// Hosts are further /etc/hosts entries: name to address.
	Hosts map[string]string
	// Forward lists TCP forwards from the session's own loopback to the host:
	// "127.0.0.1:7080" inside -> "127.0.0.1:7080" outside. A runtime without
	// a network of its own ignores those where both sides are equal.
	Forward map[string]string
	// Limits bound the session as a whole; zero fields mean the default of
	// the runtime.
	Limits Limits
}

// Mount makes the host path Source visible at Target.
type Mount struct {
	Source, Target string
	ReadOnly       bool
}

// Limits of a session.
type Limits struct {
	MemoryBytes int64
	CPUs        float64
	Processes   int64
}

// Session is one opened place. Run may be called from several goroutines.
type Session interface {
	// Run starts a command and waits for it. code is the exit code, 128+n for
	// a command that signal n ended. err is for what kept the command from
	// running or being waited for; a command that ran and failed is not an
	// error. When ctx ends, the command and all its descendants are stopped
	// (interrupt, Grace, terminate, kill) and ctx's error is returned.
	Run(ctx context.Context, cmd Command) (code int, err error)
	// Env is the environment that a fresh login has here: PATH, HOME, USER,
	// SHELL, LANG, TMPDIR and the machine's proxy settings. It is what callers
	// start from when they make a Command's Env; Run adds nothing to that.
	Env() []string
	// Close stops whatever still runs and removes every trace: processes,
	// mounts, interfaces, control groups, scratch directories. It is safe to
	// call twice.
	Close() error
}

// Command is one program to run.
type Command struct {
	Args   []string // program and arguments; the program is looked up in Env's PATH
	Env    []string // the whole environment, "K=V"; nothing is inherited
	Dir    string   // working directory, default the workspace
	Stdin  io.Reader
	Stdout io.Writer // default discards
	Stderr io.Writer
	// Grace is how long a command has after the interrupt, and again after the
	// terminate; default 7.5 s and 2.5 s.
	Grace time.Duration
}
