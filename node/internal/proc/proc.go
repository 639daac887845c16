// Package proc finds and watches processes that may not be children of this
// one: a pid file says which process it was, also after pids were used again.
package proc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock-dev/penstock/node/internal/layout"
)

// Process names one process for good: a pid alone is used again.
type Process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot, field 22 of /proc/<pid>/stat
}

// Of returns the process that now has pid.
func Of(pid int) (Process, error) {
	start, state, err := stat(pid)
	if err != nil {
		return Process{}, err
	}
	if state == 'Z' || state == 'X' {
		return Process{}, fs.ErrNotExist
	}
	return Process{pid, start}, nil
}

// Alive says whether the process still runs.
func (p Process) Alive() bool {
	now, err := Of(p.PID)
	return err == nil && now == p
}

// Save writes the process to a pid file.
func (p Process) Save(path string) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return layout.WriteFile(path, append(b, '\n'), 0o600)
}

// Load reads a pid file. It returns false if there is none, or if the process
// has ended.
func Load(path string) (Process, bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Process{}, false
	}
	var p Process
	if json.Unmarshal(b, &p) != nil || p.PID <= 1 {
		return Process{}, false
	}
	return p, p.Alive()
}

// Wait returns when the process has ended or ctx is done.
func (p Process) Wait(ctx context.Context) error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		if errors.Is(err, unix.ESRCH) {
			return nil
		}
		return fmt.Errorf("watch process %d: %w", p.PID, err)
	}
	defer unix.Close(fd)
	if !p.Alive() { // the pid was used again before the descriptor held it
		return nil
	}
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 1000)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("watch process %d: %w", p.PID, err)
		}
		if n > 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// Signal sends sig if the process still runs.
func (p Process) Signal(sig unix.Signal) error {
	if !p.Alive() {
		return nil
	}
	if err := unix.Kill(p.PID, sig); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	return nil
}

// End asks the process to end, and kills it after grace.
func (p Process) End(ctx context.Context, grace time.Duration) error {
	if err := p.Signal(unix.SIGTERM); err != nil {
		return err
	}
	soft, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if p.Wait(soft) == nil {
		return nil
	}
	if err := p.Signal(unix.SIGKILL); err != nil {
		return err
	}
	hard, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return p.Wait(hard)
}

// With returns the processes whose command line match accepts.
func With(match func(args []string) bool) ([]Process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var out []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if err != nil || len(b) == 0 {
			continue
		}
		if !match(strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")) {
			continue
		}
		if p, err := Of(pid); err == nil {
			out = append(out, p)
		}
	}
	return out, nil
}

func stat(pid int) (start uint64, state byte, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	// The name is in parentheses and may itself hold spaces and parentheses.
	i := strings.LastIndexByte(string(b), ')')
	f := strings.Fields(string(b[i+1:]))
	if i < 0 || len(f) < 20 {
		return 0, 0, fmt.Errorf("read the state of process %d: unexpected format", pid)
	}
	start, err = strconv.ParseUint(f[19], 10, 64)
	return start, f[0][0], err
}
