//go:build unix

// Package process runs commands as the invoking user, on the machine itself,
// without any isolation: a command can do whatever the user can. What it does
// promise is that nothing is left running: where control groups can be used
// (as root, or in a user's own systemd session) whatever a command started is
// ended with it or with the session, however it detached itself. Elsewhere the
// descendants are found by their parents, process groups and sessions, which a
// process can leave if it means to.
package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"

	"github.com/penstock-dev/penstock/internal/base/problem"
	hostexec "github.com/penstock-dev/penstock/internal/host/exec"
	"github.com/penstock-dev/penstock/internal/host/exec/forward"
	"github.com/penstock-dev/penstock/internal/host/exec/stdio"
)

// Runtime opens sessions without isolation.
type Runtime struct {
	log     *slog.Logger
	newTree func(id string) (tree, error)
}

var (
	_ hostexec.Runtime   = (*Runtime)(nil)
	_ hostexec.Networked = (*session)(nil)
)

// New makes a runtime; log may be nil.
func New(log *slog.Logger) *Runtime {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Runtime{log: log, newTree: newTree}
}

// Name is "process".
func (*Runtime) Name() string { return "process" }

var validID = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)

// Open makes a session. What the runtime cannot give (another place for a
// mount, a name that does not resolve, limits) it refuses.
func (r *Runtime) Open(ctx context.Context, spec hostexec.SessionSpec) (hostexec.Session, error) {
	s, err := r.open(ctx, spec)
	if err != nil {
		return nil, &problem.Error{Op: "open session", Subject: spec.ID, Err: err, Hint: "the process runtime isolates nothing; use the sandbox runtime for what it cannot do"}
	}
	return s, nil
}

func (r *Runtime) open(ctx context.Context, spec hostexec.SessionSpec) (*session, error) {
	if err := validate(ctx, spec); err != nil {
		return nil, err
	}
	s := &session{spec: spec, log: r.log.With("session", spec.ID), rest: newScan(), done: make(chan struct{})}
	s.forwards = forward.New(s.log)
	for inside, outside := range spec.Forward {
		if inside == outside {
			continue // it is there
		}
		l, err := net.Listen("tcp", inside)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("forward %s: %w", inside, err), s.Close())
		}
		s.forwards.TCP(l, outside)
	}
	var err error
	if s.tree, err = r.newTree(spec.ID); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func validate(ctx context.Context, spec hostexec.SessionSpec) error {
	if !validID.MatchString(spec.ID) {
		return fmt.Errorf("%w: session id %q is not of the form %s", problem.ErrInvalid, spec.ID, validID)
	}
	if fi, err := os.Stat(spec.Workspace); err != nil {
		return fmt.Errorf("workspace: %w", err)
	} else if !fi.IsDir() || !filepath.IsAbs(spec.Workspace) {
		return fmt.Errorf("%w: workspace %q is not an absolute path of a directory", problem.ErrInvalid, spec.Workspace)
	}
	if spec.Image != "" || spec.Network != "" {
		return fmt.Errorf("%w: an image or a private network cannot be had without isolation", problem.ErrInvalid)
	}
	if spec.Limits != (hostexec.Limits{}) {
		return fmt.Errorf("%w: limits cannot be set without isolation", problem.ErrInvalid)
	}
	for _, m := range spec.Mounts {
		if _, err := os.Stat(m.Source); err != nil {
			return fmt.Errorf("mount: %w", err)
		}
		if filepath.Clean(m.Source) != filepath.Clean(m.Target) {
			return fmt.Errorf("%w: %s cannot appear at %s without isolation", problem.ErrInvalid, m.Source, m.Target)
		}
		if m.ReadOnly {
			return fmt.Errorf("%w: %s cannot be protected against writing without isolation", problem.ErrInvalid, m.Source)
		}
	}
	for inside := range spec.Forward {
		if err := forward.Loopback(inside); err != nil {
			return fmt.Errorf("%w: forward %s: %w", problem.ErrInvalid, inside, err)
		}
	}
	for name, addr := range spec.Hosts {
		if err := resolves(ctx, name, addr); err != nil {
			return fmt.Errorf("%w: hosts entry %s %s: %w", problem.ErrInvalid, addr, name, err)
		}
	}
	return nil
}

// resolves checks that the machine already knows the name. Names below
// .localhost are left to the programs: most resolve them, and a machine's
// resolver need not.
func resolves(ctx context.Context, name, addr string) error {
	if ip := net.ParseIP(addr); ip != nil && ip.IsLoopback() && (name == "localhost" || strings.HasSuffix(name, ".localhost")) {
		return nil
	}
	addrs, err := net.DefaultResolver.LookupHost(ctx, name)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		if a == addr {
			return nil
		}
	}
	return fmt.Errorf("this machine resolves it to %s", strings.Join(addrs, ", "))
}

// session runs commands of one job.
type session struct {
	spec     hostexec.SessionSpec
	log      *slog.Logger
	tree     tree
	rest     *scan // for commands that cannot be in tree
	forwards *forward.Forwards
	wg       sync.WaitGroup // commands and the readers of their output

	mu     sync.Mutex
	closed bool

	closeOnce sync.Once
	closeErr  error
	done      chan struct{}
}

// tree knows the processes of a session.
type tree interface {
	// branch is for one more command. attr gets what starts the command in it.
	branch(attr *syscall.SysProcAttr) (branch, error)
	// remove ends every process of the session.
	remove() error
}

// branch knows the processes of one command.
type branch interface {
	began(pid int) // called right after the start
	look()         // called before a signal, after which parents may be gone
	kill() error   // ends the command and all its descendants
	tidy()         // called at the command's end; descendants may go on
}

// Env is the invoking user's environment without Penstock's own settings.
func (s *session) Env() []string {
	var out []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "PENSTOCK_") {
			out = append(out, kv)
		}
	}
	return out
}

// Run runs one command.
func (s *session) Run(ctx context.Context, cmd hostexec.Command) (int, error) {
	code, err := s.run(ctx, cmd)
	return code, hostexec.RunError(ctx, cmd, err)
}

func (s *session) run(ctx context.Context, cmd hostexec.Command) (int, error) {
	if err := ctx.Err(); err != nil {
		return -1, err
	}
	if len(cmd.Args) == 0 {
		return -1, fmt.Errorf("%w: command has no arguments", problem.ErrInvalid)
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return -1, errors.New("the session is closed")
	}
	s.wg.Add(1)
	s.mu.Unlock()
	defer s.wg.Done()

	c, b, streams, err := s.start(cmd, s.tree)
	if refusesGroup(err) {
		c, b, streams, err = s.start(cmd, s.rest)
	}
	if err != nil {
		return -1, err
	}
	defer b.tidy()
	code, err := s.wait(ctx, c, b, cmd)
	return code, errors.Join(err, streams.Finish())
}

// refusesGroup says whether a start may have failed because the kernel, or a
// filter in front of it, does not start processes in a control group.
func refusesGroup(err error) bool {
	for _, e := range []error{syscall.ENOSYS, syscall.EPERM, syscall.EACCES, syscall.EINVAL, syscall.E2BIG, syscall.EBUSY, syscall.EBADF, syscall.EOPNOTSUPP} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// start starts the command as a branch of the tree.
func (s *session) start(cmd hostexec.Command, t tree) (*exec.Cmd, branch, *stdio.Streams, error) {
	c, err := s.command(cmd)
	if err != nil {
		return nil, nil, nil, err
	}
	b, err := t.branch(c.SysProcAttr)
	if err != nil {
		return nil, nil, nil, err
	}
	streams, err := stdio.New(cmd, &s.wg, s.done)
	if err != nil {
		b.tidy()
		return nil, nil, nil, err
	}
	c.Stdin, c.Stdout, c.Stderr = streams.In, streams.Out, streams.Err
	err = c.Start()
	streams.Given()
	if err != nil {
		b.tidy()
		return nil, nil, nil, errors.Join(err, streams.Finish())
	}
	b.began(c.Process.Pid)
	return c, b, streams, nil
}

func (s *session) command(cmd hostexec.Command) (*exec.Cmd, error) {
	dir := cmd.Dir
	if dir == "" {
		dir = s.spec.Workspace
	}
	if fi, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("working directory: %w", err)
	} else if !fi.IsDir() {
		return nil, fmt.Errorf("working directory: %s is not a directory", dir)
	}
	program, err := hostexec.LookPath(cmd.Args[0], dir, cmd.Env)
	if err != nil {
		return nil, err
	}
	env := cmd.Env
	if env == nil {
		env = []string{} // nil would mean ours
	}
	return &exec.Cmd{Path: program, Args: cmd.Args, Env: env, Dir: dir, SysProcAttr: &syscall.SysProcAttr{Setsid: true}}, nil
}

func (s *session) wait(ctx context.Context, c *exec.Cmd, b branch, cmd hostexec.Command) (int, error) {
	exited := make(chan struct{})
	var waitErr error
	go func() {
		defer close(exited)
		waitErr = c.Wait()
	}()
	select {
	case <-exited:
	case <-ctx.Done():
		hostexec.Escalate(cmd.Grace, exited,
			func(sig syscall.Signal) {
				b.look()
				_ = syscall.Kill(-c.Process.Pid, sig) // gone already is fine
			},
			func() {
				if err := b.kill(); err != nil {
					s.log.Warn("kill command", "error", err)
				}
			})
		return -1, ctx.Err()
	case <-s.done:
		if err := b.kill(); err != nil {
			s.log.Warn("kill command", "error", err)
		}
		<-exited
	}
	var exit *exec.ExitError
	if waitErr != nil && !errors.As(waitErr, &exit) {
		return -1, waitErr
	}
	ws := c.ProcessState.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return ws.ExitStatus(), nil
}

// Dial connects from this machine, which is where commands run.
func (s *session) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, addr)
}

// Listen listens on this machine until the session is closed.
func (s *session) Listen(ctx context.Context, network, addr string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	s.forwards.Serve(l, func(ctx context.Context) { <-ctx.Done() })
	return l, nil
}

// Close ends what still runs.
func (s *session) Close() error {
	s.closeOnce.Do(func() {
		s.mu.Lock()
		s.closed = true
		close(s.done)
		s.mu.Unlock()
		s.closeErr = s.rest.remove()
		if s.tree != nil {
			s.closeErr = errors.Join(s.closeErr, s.tree.remove())
		}
		s.forwards.Close()
		s.wg.Wait()
	})
	return s.closeErr
}
