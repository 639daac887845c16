// Package exec is where commands run: CI jobs, scanners, render plugins. A
// [Runtime] opens a [Session], one isolated place with a workspace, and the
// session runs commands in it one after another or side by side.
//
// Three runtimes exist: process (the invoking user, no isolation, and it says
// so), sandbox (a container over the host's own root file system) and container
// (an image as the root). Every runtime passes the conformance test in package
// exectest.
package exec

import (
	"cmp"
	"context"
	"io"
	"net"
	"time"
)

// Runtime opens sessions.
type Runtime interface {
	// Name is "process", "sandbox" or "container".
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
	// Image is what the root file system is made of: a reference in a
	// registry, "oci:DIR[:NAME]" or "docker-archive:FILE[:NAME]". Runtimes
	// without images refuse it.
	Image string
	// ImageCredentials are for the registry that Image names, instead of those
	// that this machine has for it.
	ImageCredentials *Credentials
	// Network is a private network: the sessions of this process that name the
	// same one reach each other on all ports, by their addresses and Names,
	// and nobody else does. It exists as long as one of its sessions. Runtimes
	// without a network of their own refuse it.
	Network string
	// Names are what the others on Network call this session.
	Names []string
}

// Credentials for a registry.
type Credentials struct{ Username, Password string }

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

// Networked is a session whose network can be used from here, as by a program
// inside: to reach a service that it runs, or to offer it one. Every session
// of our own runtimes is one.
type Networked interface {
	Session
	// Dial connects from inside, to the session's own loopback for one.
	Dial(ctx context.Context, network, addr string) (net.Conn, error)
	// Listen listens inside until the listener or the session is closed.
	Listen(ctx context.Context, network, addr string) (net.Listener, error)
}

// Imaged is a session that was made of an image.
type Imaged interface {
	Session
	Image() ImageConfig
}

// ImageConfig is what an image says about how it is meant to be run. Its
// environment and user are those of the session already.
type ImageConfig struct {
	Ref        string // as it was asked for
	Digest     string // of the manifest that was used
	Entrypoint []string
	Cmd        []string
	WorkingDir string
	Ports      []string // "5432/tcp"
	Health     *HealthCheck
	StopSignal string
	Labels     map[string]string
}

// Command is the image's own, with other arguments if there are any: a service
// that is started as the image means it.
func (c ImageConfig) Command(args ...string) Command {
	if len(args) == 0 {
		args = c.Cmd
	}
	return Command{Args: append(append([]string(nil), c.Entrypoint...), args...), Dir: cmp.Or(c.WorkingDir, "/")}
}

// HealthCheck is a command that tells, by its exit code, whether a service is
// ready. Zero times mean that the image leaves them to whoever runs it.
type HealthCheck struct {
	Test                           []string // program and arguments
	Interval, Timeout, StartPeriod time.Duration
	Retries                        int
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
