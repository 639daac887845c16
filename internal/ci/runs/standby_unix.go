//go:build unix

package runs

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/penstock-dev/penstock/internal/ci/jobdir"
)

const (
	// refill is how long after a job took the runner that waited the next one
	// is started: not while that job begins.
	refill = 500 * time.Millisecond
	// again is how long after a failure the next one is started.
	again = 10 * time.Second
	// answer is how long the runner has to take a job.
	answer = 5 * time.Second
	// leaveWithin is how long a runner without a job may take to go.
	leaveWithin = 10 * time.Second
)

// StandbyRunner is a ProcessRunner that has one runner started in advance, which
// spares a job the start of a program and of a sandbox. Where there is none,
// for a second job at the same moment, one is started as ever.
type StandbyRunner struct {
	ProcessRunner
	Log *slog.Logger
	// Sweep removes what a runner left on the machine that ended while it
	// waited; may be nil.
	Sweep func(ctx context.Context) error

	answer time.Duration

	mu     sync.Mutex
	next   *standby
	failed bool // a runner that waited has failed
}

var _ Runner = (*StandbyRunner)(nil)

// NewStandbyRunner makes one; Run keeps it supplied.
func NewStandbyRunner(p ProcessRunner, log *slog.Logger) *StandbyRunner {
	return &StandbyRunner{ProcessRunner: p, Log: log, answer: answer}
}

// standby is a runner without a job.
type standby struct {
	cmd   *exec.Cmd
	conn  *net.UnixConn
	taken chan struct{} // closed when it is somebody's
	gone  chan struct{} // closed when its process has ended
}

// Run keeps one runner waiting until ctx ends.
func (r *StandbyRunner) Run(ctx context.Context) error {
	defer r.dismiss()
	for {
		pause := refill
		s, err := r.begin()
		if err == nil {
			r.mu.Lock()
			r.next = s
			r.mu.Unlock()
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-s.taken:
			case <-s.gone:
				if r.take() != nil { // it has ended without a job
					s.conn.Close()
					r.fail()
					pause = again
					r.Log.Warn("the runner that waited for a job has ended", "pid", s.cmd.Process.Pid)
				}
			}
		} else {
			pause = again
			r.Log.Warn("cannot start a runner in advance", "error", err)
		}
		if !sleep(ctx, pause) {
			return ctx.Err()
		}
		r.sweep(ctx)
	}
}

// sweep removes what a runner that failed has left.
func (r *StandbyRunner) sweep(ctx context.Context) {
	r.mu.Lock()
	due := r.failed && r.Sweep != nil
	r.failed = false
	r.mu.Unlock()
	if !due {
		return
	}
	if err := r.Sweep(ctx); err != nil && ctx.Err() == nil {
		r.Log.Error("cannot remove what a waiting runner left", "error", err)
	}
}

func (r *StandbyRunner) fail() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
}

// dismiss ends the runner that waits.
func (r *StandbyRunner) dismiss() {
	if s := r.take(); s != nil {
		s.end()
	}
}

func (r *StandbyRunner) take() *standby {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.next
	r.next = nil
	if s != nil {
		close(s.taken)
	}
	return s
}

// begin starts a runner that waits. It has a session of its own, like one with
// a job, and ends when our end of the socket does.
func (r *StandbyRunner) begin() (*standby, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, fmt.Errorf("make socket: %w", err)
	}
	for _, fd := range fds {
		syscall.CloseOnExec(fd)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "server"), os.NewFile(uintptr(fds[1]), "runner")
	defer ours.Close()
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, err
	}
	const socketFD = 3 // the first of ExtraFiles
	cmd := exec.Command(r.Program, append(append([]string{}, r.Args...), "--standby-fd", fmt.Sprint(socketFD))...)
	cmd.Env = r.Env
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr // until it has a job
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("%s: %w", r.Program, err)
	}
	s := &standby{cmd: cmd, conn: conn.(*net.UnixConn), taken: make(chan struct{}), gone: make(chan struct{})}
	// Not awaited once it has a job: the process may outlive us then, and the
	// goroutine holds nothing.
	go func() { _ = cmd.Wait(); close(s.gone) }()
	return s, nil
}

// end makes the runner leave and waits until it has.
func (s *standby) end() {
	s.conn.Close()
	t := time.NewTimer(leaveWithin)
	defer t.Stop()
	select {
	case <-s.gone:
		return
	case <-t.C:
	}
	_ = s.cmd.Process.Kill() // gone in this moment is fine
	<-s.gone
}

// Start gives the job to the runner that waits, else to a new one.
func (r *StandbyRunner) Start(dir jobdir.Dir, lock *os.File) (wait func(), err error) {
	s := r.take()
	if s == nil {
		return r.ProcessRunner.Start(dir, lock)
	}
	log, err := openRunnerLog(dir)
	if err != nil {
		s.end()
		return nil, err
	}
	defer log.Close()
	if err := dir.HandOver(s.conn, lock, log, r.answer); err != nil {
		r.Log.Warn("the runner that waited does not take the job", "job", string(dir), "error", err)
		_ = s.cmd.Process.Kill()
		s.end()
		r.fail()
		return r.ProcessRunner.Start(dir, lock)
	}
	s.conn.Close()
	return func() { <-s.gone }, nil
}
