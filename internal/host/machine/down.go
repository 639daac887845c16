package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/process"
)

const (
	stopGrace = 20 * time.Second
	nodeGrace = 90 * time.Second // Pods get their own time to end
)

// DownOptions configures [Machine.Down].
type DownOptions struct {
	Wipe     bool
	StopJobs func(ctx context.Context) error // ends CI jobs that still run; may be nil
	Progress func(what string)
}

// Down ends every process and removes what they left on the machine: mounts,
// interfaces, rules. With Wipe it removes the data as well. It is safe to
// repeat, and works after a crash of any part.
func (m *Machine) Down(ctx context.Context, o DownOptions) error {
	if _, err := os.Stat(m.dataDir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if o.Wipe {
		if err := m.refuseForeign(); err != nil {
			return err
		}
	}
	tell := func(what string) {
		if o.Progress != nil {
			o.Progress(what)
		}
	}
	// The supervisor goes first, so that it restarts nothing.
	for _, name := range []string{up, Server} {
		if p, ok := process.Find(m.RunDir(), name); ok {
			tell(name)
			if err := p.Stop(ctx, stopGrace); err != nil {
				return err
			}
		}
	}
	if err := m.awaitUnlocked(ctx); err != nil {
		return err
	}
	if o.StopJobs != nil {
		if err := o.StopJobs(ctx); err != nil {
			return fmt.Errorf("stop running jobs: %w", err)
		}
	}
	if p, ok := process.Find(m.RunDir(), Gateway); ok {
		tell(Gateway)
		if err := p.Stop(ctx, stopGrace); err != nil {
			return err
		}
	}
	if _, err := os.Stat(m.NodeDir()); err == nil {
		tell(Node)
		if err := m.stopNode(ctx, o.Wipe); err != nil {
			return err
		}
	}
	if o.Wipe {
		tell("data")
		if err := os.RemoveAll(m.dataDir); err != nil {
			return fmt.Errorf("remove data: %w", err)
		}
	}
	return nil
}

// awaitUnlocked ends a supervisor that runs in somebody's foreground.
func (m *Machine) awaitUnlocked(ctx context.Context) error {
	deadline := time.Now().Add(stopGrace)
	for {
		pid := process.LockHolder(m.RunDir())
		if pid == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return &problem.Error{Op: "stop", Subject: "the supervisor", Err: problem.ErrTimeout, Hint: "end the penstock up that runs in another terminal"}
		}
		holder, err := os.FindProcess(pid)
		if err == nil {
			err = holder.Signal(syscall.SIGTERM)
		}
		if err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stop the supervisor (pid %d): %w", pid, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// stopNode lets penstock-node end itself and clean up; its own command does
// both, also when the process is dead.
func (m *Machine) stopNode(ctx context.Context, wipe bool) error {
	program, err := nodeProgram()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, nodeGrace)
	defer cancel()
	args := []string{"stop", "--data-dir", m.NodeDir()}
	if wipe {
		args = append(args, "--wipe")
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			err = problem.ErrTimeout
		}
		return &problem.Error{Op: "stop the node", Err: fmt.Errorf("%w: %s", err, lastLine(out)), Hint: "the log is " + process.LogPath(m.RunDir(), Node)}
	}
	if p, ok := process.Find(m.RunDir(), Node); ok {
		return p.Stop(ctx, stopGrace)
	}
	return nil
}

func lastLine(b []byte) string {
	s := string(b)
	if len(s) > 1000 {
		s = s[len(s)-1000:]
	}
	return s
}

// refuseForeign keeps --wipe from removing a directory that is not ours.
func (m *Machine) refuseForeign() error {
	if isFile(m.settingsPath()) {
		return nil
	}
	entries, err := os.ReadDir(m.dataDir)
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		return nil
	}
	return &problem.Error{Op: "wipe", Subject: m.dataDir, Code: problem.ExitUsage,
		Err:  errors.New("it holds files but no " + filepath.Base(m.settingsPath()) + ": not a Penstock data directory"),
		Hint: "name the right one with --data-dir"}
}
