package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock-dev/penstock/internal/base/atomicfile"
	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Find returns the process recorded under name, if it still runs.
func Find(runDir, name string) (*Process, bool) {
	f, err := os.Open(recordPath(runDir, name))
	if err != nil {
		return nil, false
	}
	defer f.Close()
	var p Process
	if json.NewDecoder(limit(f)).Decode(&p) != nil || p.PID <= 1 || !p.Alive() {
		return nil, false
	}
	return &p, true
}

// Start starts spec as a session of its own that outlives the caller. The
// caller makes sure that it does not run already.
func Start(runDir string, spec Spec) (*Process, error) {
	if len(spec.Args) == 0 || !filepath.IsAbs(spec.Args[0]) {
		return nil, fmt.Errorf("start %s: program path must be absolute: %w", spec.Name, problem.ErrInvalid)
	}
	if _, err := os.Stat(spec.Args[0]); err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start %s: find own program: %w", spec.Name, err)
	}
	log, err := openLog(LogPath(runDir, spec.Name))
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	defer log.Close()
	gate, open, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	defer gate.Close()
	defer open.Close()

	cmd := exec.Command(self, append([]string{launchName, "--"}, spec.Args...)...)
	cmd.Env, cmd.Dir = spec.Env, "/"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = gate, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	go cmd.Wait() //nolint:errcheck // reaps the child while we live; its end is seen through the pid

	p := &Process{Name: spec.Name, PID: cmd.Process.Pid, Args: spec.Args, Since: time.Now().UTC()}
	if p.Born, err = born(p.PID); err == nil {
		p.Boot, err = bootID()
	}
	if err == nil {
		err = p.record(runDir)
	}
	if err == nil {
		_, err = open.Write([]byte{1})
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, errors.Join(err, cmd.Process.Kill()))
	}
	return p, nil
}

func (p *Process) record(runDir string) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return atomicfile.Write(recordPath(runDir, p.Name), append(b, '\n'), 0o600)
}

// Alive says whether the process still runs.
func (p *Process) Alive() bool {
	boot, err := bootID()
	if err != nil || boot != p.Boot {
		return false
	}
	b, err := born(p.PID)
	return err == nil && b == p.Born
}

// outdated says whether p is not what spec would start: another program, also
// another file under the same name, or other arguments.
func outdated(p *Process, spec Spec) bool {
	if !slices.Equal(p.Args, spec.Args) {
		return true
	}
	have, err := os.Stat(fmt.Sprintf("/proc/%d/exe", p.PID))
	if err != nil {
		return false // it has just ended, or cannot be looked at: it is taken as it is
	}
	want, err := os.Stat(spec.Args[0])
	return err == nil && !os.SameFile(have, want)
}

// Wait waits until the process has ended or ctx is done.
func (p *Process) Wait(ctx context.Context) error {
	fd, err := unix.PidfdOpen(p.PID, unix.PIDFD_NONBLOCK)
	if err != nil || !p.Alive() {
		if err == nil {
			unix.Close(fd)
		}
		return nil // gone
	}
	defer unix.Close(fd)
	for {
		// Woken every 200 ms to look at ctx: the end itself is seen at once.
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 200)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for %s: %w", p.Name, err)
		}
		if n > 0 {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// Stop asks the process to end, waits for grace and then kills it.
func (p *Process) Stop(ctx context.Context, grace time.Duration) error {
	for _, s := range []struct {
		sig  unix.Signal
		wait time.Duration
	}{{unix.SIGTERM, grace}, {unix.SIGKILL, 5 * time.Second}} {
		if err := p.Signal(s.sig); err != nil {
			return err
		}
		wctx, cancel := context.WithTimeout(ctx, s.wait)
		err := p.Wait(wctx)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return fmt.Errorf("stop %s (pid %d): still there after SIGKILL: %w", p.Name, p.PID, problem.ErrTimeout)
}

// Signal sends sig; to a process that is gone it does nothing.
func (p *Process) Signal(sig unix.Signal) error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("signal %s (pid %d): %w", p.Name, p.PID, err)
	}
	defer unix.Close(fd)
	if !p.Alive() { // the pidfd may name a newer process with that pid
		return nil
	}
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal %s (pid %d): %w", p.Name, p.PID, err)
	}
	return nil
}

// born reads when the kernel started pid, in clock ticks after boot. A zombie
// counts as gone.
func born(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the name in parentheses and may hold anything.
	_, rest, ok := strings.Cut(string(b[strings.LastIndexByte(string(b), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return 0, fmt.Errorf("stat of pid %d: unexpected form", pid)
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return 0, os.ErrProcessDone
	}
	var t uint64
	_, err = fmt.Sscan(fields[19], &t)
	return t, err
}

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}
