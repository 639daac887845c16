package process

import (
	"context"
	"log/slog"
	"time"
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
		var replaced *Process
		if running && spec.TakesOver && outdated(p, spec) {
			log.Info("replacing what runs", "pid", p.PID)
			running, replaced = false, p
		}
		if running {
			log.Info("adopted", "pid", p.PID)
		} else {
			started, err := Start(runDir, spec)
			if err != nil {
				log.Warn("start failed", "error", err)
			} else {
				log.Info("started", "pid", started.PID)
			}
			p = started
		}
		if p != nil {
			if changed != nil {
				changed(p)
			}
			if err := p.Wait(ctx); err != nil {
				return nil //nolint:nilerr // only ctx ends the wait; the process stays
			}
			log.Warn("ended", "pid", p.PID, "after", time.Since(began).Round(time.Millisecond))
			if replaced != nil && replaced.Alive() {
				// It may not have been able to take over: what serves must be
				// known.
				if err := replaced.record(runDir); err != nil {
					log.Warn("what runs is not recorded", "pid", replaced.PID, "error", err)
				}
			}
		}
		delay = nextDelay(delay, time.Since(began))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(delay):
		}
	}
}
