package runs

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"time"

	"github.com/penstock-dev/penstock/internal/ci/jobdir"
)

// stopGrace is how long a runner may take to interrupt its step and leave.
const stopGrace = 15 * time.Second

// StopAll ends the runners whose jobs are under dir, without the service: they
// cancel their jobs, and those that do not leave are killed. How the jobs ended
// is recorded when the service runs again.
func StopAll(ctx context.Context, dir string) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return err
	}
	living := map[jobdir.Dir]bool{}
	for _, p := range paths {
		d := jobdir.Dir(p)
		alive, err := d.Alive()
		if err != nil {
			return fmt.Errorf("look at job %s: %w", filepath.Base(p), err)
		}
		if !alive {
			continue
		}
		living[d] = true
		if err := d.Cancel(); err != nil {
			return fmt.Errorf("cancel job %s: %w", filepath.Base(p), err)
		}
	}
	for _, signal := range []syscall.Signal{0, syscall.SIGKILL} {
		var errs []error
		for d := range living {
			if signal != 0 {
				errs = append(errs, d.Signal(signal))
			}
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
		for deadline := time.Now().Add(stopGrace); len(living) > 0 && time.Now().Before(deadline); {
			for d := range living {
				if alive, err := d.Alive(); err == nil && !alive {
					delete(living, d)
				}
			}
			if len(living) > 0 && !sleep(ctx, 50*time.Millisecond) {
				return ctx.Err()
			}
		}
	}
	if len(living) > 0 {
		return fmt.Errorf("%d runners could not be ended", len(living))
	}
	return nil
}
