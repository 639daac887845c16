//go:build linux

package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/exec"
	"github.com/penstock-dev/penstock/internal/host/exec/cgtree"
	"github.com/penstock-dev/penstock/internal/host/exec/forward"
	"github.com/penstock-dev/penstock/internal/host/exec/sandbox/wire"
	"github.com/penstock-dev/penstock/internal/host/exec/stdio"
)

// closeTimeout bounds how long Close waits for killed processes to go.
const closeTimeout = 30 * time.Second

// session is one open sandbox.
type session struct {
	r        *Runtime
	id       string // what the machine holds for it is named by this
	spec     exec.SessionSpec
	root     *Root // nil: the host's
	user     user
	log      *slog.Logger
	lock     *os.File // on the id, as long as we live
	name     *os.File // lock on spec.ID where that is not the id
	fs       *rootfs
	layer    plan // that fs was made by
	slot     slot
	control  *net.UnixConn
	pid      int
	group    cgtree.Group
	linked   bool // the interface may exist
	forwards *forward.Forwards
	peers    *peers // the private network, if the session is in one
	peerAddr netip.Addr
	wg       sync.WaitGroup // listen, commands, and the readers of their output

	sendMu sync.Mutex

	mu      sync.Mutex
	next    uint64
	running map[uint64]*command
	lost    bool // the agent is gone

	closeOnce sync.Once
	closeErr  error
	done      chan struct{} // closed when Close begins
}

// command is one that was asked for.
type command struct {
	begun  chan error // one value: nil when it runs
	exited chan struct{}
	code   int
	err    error // set before exited is closed
}

// Env is what a login has inside.
func (s *session) Env() []string {
	proxy, _ := proxies(os.Environ(), ownAddress)
	if s.root != nil {
		return append(slices.Clone(s.root.Env), proxy...)
	}
	return append([]string{
		"PATH=" + loginPath, "HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/bash", "LANG=C.UTF-8", "TMPDIR=/tmp",
	}, proxy...)
}

// listen hears what the agent says until it is gone.
func (s *session) listen() {
	for {
		m, files, err := wire.Receive(s.control)
		for _, f := range files {
			f.Close()
		}
		if err != nil {
			s.loseAll()
			return
		}
		s.mu.Lock()
		c := s.running[m.ID]
		s.mu.Unlock()
		if c == nil {
			continue // it never was, or we know its end: nothing to believe
		}
		switch m.Op {
		case wire.Begun:
			c.report(nil)
		case wire.Failed:
			err := errors.New(m.Error)
			if m.NotFound {
				err = missingProgram{m.Error}
			}
			s.forget(m.ID)
			c.report(err)
		case wire.Exited:
			c.code = m.Code & 0xff
			s.forget(m.ID)
			c.report(nil)
			close(c.exited)
		}
	}
}

// missingProgram has the agent's words for it.
type missingProgram struct{ text string }

func (e missingProgram) Error() string        { return e.text }
func (e missingProgram) Is(target error) bool { return target == problem.ErrNotFound }

// report says how the start went, the first time it is called.
func (c *command) report(err error) {
	select {
	case c.begun <- err:
	default:
	}
}

func (s *session) forget(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, id)
}

// loseAll ends the wait for every command: the agent is gone, and with it
// everything in the sandbox.
func (s *session) loseAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = true
	gone := fmt.Errorf("%w%s", errGone, s.lastWords())
	for id, c := range s.running {
		c.report(gone)
		c.err = gone
		close(c.exited)
		delete(s.running, id)
	}
}

// Run runs one command.
func (s *session) Run(ctx context.Context, cmd exec.Command) (int, error) {
	code, err := s.run(ctx, cmd)
	return code, exec.RunError(ctx, cmd, err)
}

func (s *session) run(ctx context.Context, cmd exec.Command) (int, error) {
	if err := ctx.Err(); err != nil {
		return -1, err
	}
	if len(cmd.Args) == 0 {
		return -1, fmt.Errorf("%w: command has no arguments", problem.ErrInvalid)
	}
	group, c, id, err := s.register()
	if err != nil {
		return -1, err
	}
	defer s.wg.Done()
	defer s.tidy(group)
	streams, err := s.startCommand(id, group, cmd)
	if err != nil {
		s.forget(id)
		return -1, err
	}
	code, err := s.wait(ctx, id, group, c, cmd)
	return code, errors.Join(err, streams.Finish())
}

func (s *session) wait(ctx context.Context, id uint64, group cgtree.Group, c *command, cmd exec.Command) (int, error) {
	if err := <-c.begun; err != nil {
		return -1, err
	}
	select {
	case <-c.exited:
	case <-ctx.Done():
		exec.Escalate(cmd.Grace, c.exited,
			func(sig syscall.Signal) { s.signal(id, sig) },
			func() { s.kill(group, c) })
		return -1, ctx.Err()
	}
	if c.err != nil {
		return -1, c.err
	}
	return c.code, nil
}

// register makes the control group and the record of a new command.
func (s *session) register() (cgtree.Group, *command, uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.done:
		return "", nil, 0, errors.New("the session is closed")
	default:
	}
	if s.lost {
		return "", nil, 0, errGone
	}
	s.next++
	c := &command{begun: make(chan error, 1), exited: make(chan struct{})}
	if s.running == nil {
		s.running = map[uint64]*command{}
	}
	g, err := cgtree.Make(string(s.group), "cmd-"+strconv.FormatUint(s.next, 10))
	if err != nil {
		return "", nil, 0, fmt.Errorf("make control group: %w", err)
	}
	if err := g.Chown(s.slot.idBase(), s.slot.idBase()); err != nil {
		return "", nil, 0, fmt.Errorf("delegate control group: %w", err)
	}
	s.running[s.next] = c
	s.wg.Add(1) // while Close cannot be waiting yet; run takes it back
	return g, c, s.next, nil
}

// tidy removes the group of a command that left nothing running. What it left
// (a server for the next step) runs until the session closes.
func (s *session) tidy(g cgtree.Group) {
	if err := os.Remove(string(g)); err != nil && !errors.Is(err, syscall.EBUSY) && !errors.Is(err, os.ErrNotExist) {
		s.log.Warn("remove control group", "group", g, "error", err)
	}
}

func (s *session) startCommand(id uint64, group cgtree.Group, cmd exec.Command) (*stdio.Streams, error) {
	dir := cmd.Dir
	if dir == "" {
		dir = s.spec.Workspace
	}
	spec, err := json.Marshal(wire.Spec{
		Args: cmd.Args, Env: cmd.Env, Dir: dir, UID: uint32(s.user.uid), GID: uint32(s.user.gid), Groups: s.user.groups,
	})
	if err != nil {
		return nil, err
	}
	specFile, err := memfile("command", spec)
	if err != nil {
		return nil, err
	}
	defer specFile.Close()
	cg, err := group.Open()
	if err != nil {
		return nil, err
	}
	defer cg.Close()
	streams, err := stdio.New(cmd, &s.wg, s.done)
	if err != nil {
		return nil, err
	}
	err = streams.Chown(s.slot.idBase()+s.user.uid, s.slot.idBase()+s.user.gid)
	if err == nil {
		s.sendMu.Lock()
		err = wire.Send(s.control, wire.Message{Op: wire.Start, ID: id},
			int(specFile.Fd()), int(streams.In.Fd()), int(streams.Out.Fd()), int(streams.Err.Fd()), int(cg.Fd()))
		s.sendMu.Unlock()
	}
	streams.Given()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ask the sandbox: %w", err), streams.Finish())
	}
	return streams, nil
}

func (s *session) signal(id uint64, sig syscall.Signal) {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	// If the agent is gone, listen has noticed.
	_ = wire.Send(s.control, wire.Message{Op: wire.Signal, ID: id, Code: int(sig)})
}

// kill ends a command with all its descendants. If the agent then does not
// report the end, it has been tampered with, and the sandbox ends.
func (s *session) kill(group cgtree.Group, c *command) {
	if err := group.Kill(); err != nil {
		s.log.Warn("kill command", "error", err)
	}
	select {
	case <-c.exited:
	case <-time.After(10 * time.Second):
		s.log.Error("sandbox does not report the end of a killed command, ending it")
		if err := s.group.Kill(); err != nil {
			s.log.Warn("kill sandbox", "error", err)
		}
	}
}

// Close ends and removes everything.
func (s *session) Close() error {
	s.closeOnce.Do(func() {
		s.mu.Lock()
		close(s.done)
		s.mu.Unlock()
		s.closeErr = s.close()
	})
	return s.closeErr
}

func (s *session) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var errs []error
	if s.control != nil {
		s.control.Close() // the agent goes, and the kernel takes the rest along
	}
	if s.forwards != nil {
		s.forwards.Close()
	}
	errs = append(errs, s.r.private.leave(s))
	var unlink error
	if s.linked {
		// The kernel removes it with the network namespace, but in its own time.
		s.wg.Go(func() { unlink = disconnect(s.slot) })
	}
	if s.lock != nil {
		errs = append(errs, removeTraces(ctx, s.bundle(), s.scratch()))
	}
	errs = append(errs, release(s.root))
	s.wg.Wait()
	errs = append(errs, unlink)
	if s.slot.lock != nil {
		s.slot.release()
	}
	if s.lock != nil {
		errs = append(errs, os.Remove(s.lock.Name()))
		s.lock.Close()
	}
	if s.name != nil {
		errs = append(errs, os.Remove(s.name.Name()))
		s.name.Close()
	}
	if err := errors.Join(errs...); err != nil {
		return &problem.Error{Op: "close sandbox", Subject: s.spec.ID, Err: err}
	}
	return nil
}
