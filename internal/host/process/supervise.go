package process

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Restart delays double from the first to the last; a process that ran for
// longer than steady starts over with the first.
const (
	firstDelay = 200 * time.Millisecond
	lastDelay  = 10 * time.Second
	steady     = 30 * time.Second
)

// nextDelay is how long to wait before the next start of a process that ran
// for ran and waited delay before that.
func nextDelay(delay, ran time.Duration) time.Duration {
	if ran >= steady || delay == 0 {
		return firstDelay
	}
	return min(2*delay, lastDelay)
}

// Supervise keeps spec running until ctx is done: it adopts the process that
// already runs under the name, or starts it, and starts it again whenever it
// ends. The process itself outlives Supervise. changed, which may be nil, is
// told of every process that is adopted or started.
func Supervise(ctx context.Context, runDir string, spec Spec, log *slog.Logger, changed func(*Process)) error {
	log = log.With("process", spec.Name)
	var delay time.Duration
	for {
		p, running := Find(runDir, spec.Name)
		began := time.Now()
		if running {
			log.Info("adopted", "pid", p.PID)
		} else {
			var err error
			if p, err = Start(runDir, spec); err != nil {
				log.Warn("start failed", "error", err)
			} else {
				log.Info("started", "pid", p.PID)
			}
		}
		if p != nil {
			if changed != nil {
				changed(p)
			}
			if err := p.Wait(ctx); err != nil {
				return nil //nolint:nilerr // only ctx ends the wait; the process stays
			}
			log.Warn("ended", "pid", p.PID, "after", time.Since(began).Round(time.Millisecond))
		}
		delay = nextDelay(delay, time.Since(began))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(delay):
		}
	}
}

// lockName is the file that a supervisor locks and writes its pid into.
const lockName = "up.lock"

// Lock takes the run directory for one supervisor and holds it until release
// is called or the process ends.
func Lock(runDir string) (release func(), err error) {
	path := filepath.Join(runDir, lockName)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	// A lock of the open file description: it can be looked at without being
	// taken, and closing another descriptor of the file does not drop it.
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		f.Close()
		return nil, fmt.Errorf("another penstock up supervises this data directory: %w", problem.ErrExists)
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// LockHolder returns the pid of the supervisor that holds the run directory,
// 0 when none does.
func LockHolder(runDir string) int {
	f, err := os.Open(filepath.Join(runDir, lockName))
	if err != nil {
		return 0
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock) != nil || lock.Type == unix.F_UNLCK {
		return 0
	}
	var pid int
	if _, err := fmt.Fscan(limit(f), &pid); err != nil || pid <= 1 {
		return 0
	}
	return pid
}
