//go:build linux

// Package agent is the first process inside a sandbox. It starts commands when
// the host asks, says how they ended, and reaps whatever they leave behind.
// When the host's end of the socket goes, the agent goes, and with it, by the
// rule of process namespaces, everything else in the sandbox.
//
// It is a part of the program itself, so nothing is to be installed: the
// runtime starts its own executable under the name wire.AgentPath, and init
// below takes over before any other package of a large program has begun its
// own start.
package agent

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/exec/sandbox/wire"
)

func init() {
	if len(os.Args) == 0 || os.Args[0] != wire.AgentPath {
		return
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "sandbox agent:", err)
		os.Exit(1) //nolint:forbidigo // this is a main
	}
	os.Exit(0) //nolint:forbidigo // this is a main
}

func run() error {
	if err := confine(); err != nil {
		return err
	}
	f := os.NewFile(wire.ControlFD, "control")
	conn, err := net.FileConn(f)
	if err != nil {
		return fmt.Errorf("open control socket: %w", err)
	}
	f.Close()
	c, ok := conn.(*net.UnixConn)
	if !ok {
		return errors.New("control socket is not a unix socket")
	}
	syscall.Umask(0o022)
	makeThreads()

	a := &agent{conn: c, running: map[int]uint64{}}
	// Every signal is caught, and all but one are nothing to us: a first process
	// without handlers would be safe from the others in its namespace, but the
	// runtime has handlers. They cannot be ignored either, for commands would
	// inherit that.
	child, others := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(others)
	signal.Notify(child, syscall.SIGCHLD)
	go func() {
		for {
			select {
			case <-child:
				a.reap()
			case <-others:
			}
		}
	}()
	if err := a.send(wire.Message{Op: wire.Ready}); err != nil {
		return err
	}
	for {
		m, files, err := wire.Receive(c)
		if err != nil {
			return nil //nolint:nilerr // the host is gone: that is how we end
		}
		a.handle(m, files)
	}
}

// makeThreads makes the threads that the agent will need while it still can: a
// job that uses up its processes must not take the agent along.
func makeThreads() {
	var all, made sync.WaitGroup
	all.Add(wire.AgentThreads)
	for range wire.AgentThreads {
		made.Go(func() {
			runtime.LockOSThread() // one thread each, until all are there
			defer runtime.UnlockOSThread()
			all.Done()
			all.Wait()
		})
	}
	made.Wait()
}

// agent holds the commands that run.
type agent struct {
	conn *net.UnixConn

	mu      sync.Mutex // also held from fork to registration, so that no exit is missed
	running map[int]uint64
}

func (a *agent) send(m wire.Message) error { return wire.Send(a.conn, m) }

func (a *agent) handle(m wire.Message, files []*os.File) {
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	switch m.Op {
	case wire.Start:
		a.mu.Lock()
		defer a.mu.Unlock()
		pid, err := start(files)
		if err != nil {
			// A failed write means that the host is gone: the next read ends us.
			_ = a.send(wire.Message{Op: wire.Failed, ID: m.ID, Error: shorten(err.Error()), NotFound: errors.Is(err, problem.ErrNotFound)})
			return
		}
		a.running[pid] = m.ID
		_ = a.send(wire.Message{Op: wire.Begun, ID: m.ID})
	case wire.Signal:
		a.mu.Lock()
		defer a.mu.Unlock()
		for pid, id := range a.running {
			if id == m.ID {
				_ = syscall.Kill(-pid, syscall.Signal(m.Code)) // gone already is fine
			}
		}
	}
}

// reap waits for every child that has ended, ours and the adopted.
func (a *agent) reap() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		id, ours := a.running[pid]
		if !ours {
			continue
		}
		delete(a.running, pid)
		code := ws.ExitStatus()
		if ws.Signaled() {
			code = 128 + int(ws.Signal())
		}
		_ = a.send(wire.Message{Op: wire.Exited, ID: id, Code: code})
	}
}

func shorten(s string) string {
	if len(s) > 1<<10 {
		return s[:1<<10] + "…"
	}
	return s
}
