package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"

	"github.com/penstock-dev/penstock/internal/ci/runner"
)

// standBy makes what every job needs, waits for a job and runs it. The end of
// the server is the end of the wait.
func standBy(ctx context.Context, o runnerOptions, log *slog.Logger) (err error) {
	if o.runtime == "sandbox" {
		o.sandbox = &lazySandbox{dataDir: o.machine.DataDir(), log: log}
		// The session closes it too; a second time there is nothing left.
		defer func() { err = errors.Join(err, o.sandbox.close()) }()
		if err := o.sandbox.warm(ctx); err != nil && ctx.Err() == nil {
			// The job will say why, if it is still so.
			log.Debug("no sandbox in advance", "error", err)
		}
	}
	debug.FreeOSMemory() // it may be a long time
	dir, lock, err := runner.Await(ctx, o.standbyFD)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("wait for a job: %w", err)
	}
	defer lock.Close()
	o.dir = string(dir)
	return o.runLocked(ctx, lock, log)
}
