package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/process"
)

// UpDetached starts a supervisor in the background, unless one runs, and
// returns when everything is ready.
func (m *Machine) UpDetached(ctx context.Context, o UpOptions) error {
	if err := m.prepare(o.Settings); err != nil {
		return err
	}
	began := time.Now()
	if process.LockHolder(m.RunDir()) == 0 {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find own program: %w", err)
		}
		_, err = process.Start(m.RunDir(), process.Spec{Name: up, Env: cleanEnv(os.Environ()), Args: []string{
			self, "up", "--data-dir", m.dataDir, "--listen", o.Settings.Listen, "--gateway-listen", o.Settings.GatewayListen, "--timeout", o.Timeout.String(),
			"--no-login-link", // its output is a log file, where no secret belongs
		}})
		if err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.Timeout, problem.ErrTimeout)
	defer cancel()
	seen := map[string]ProcessStatus{}
	for {
		st, err := m.Status(ctx)
		if err != nil {
			return m.notUp(context.Cause(ctx))
		}
		for _, p := range st.Processes {
			if last := seen[p.Name]; o.Progress != nil && (p.State != last.State || p.Detail != last.Detail) {
				state := map[string]string{"stopped": "waiting", "starting": "waiting", "ready": "ready"}[p.State]
				o.Progress(Progress{p.Name, state, p.Detail, time.Since(began)})
			}
			seen[p.Name] = p
		}
		if st.Ready {
			return nil
		}
		if _, alive := process.Find(m.RunDir(), up); !alive && process.LockHolder(m.RunDir()) == 0 {
			return m.notUp(errors.New("the supervisor ended"))
		}
		select {
		case <-ctx.Done():
			return m.notUp(context.Cause(ctx))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (m *Machine) notUp(err error) error {
	log := process.LogPath(m.RunDir(), up)
	if errors.Is(err, context.Canceled) {
		return err
	}
	if said := lastError(log); said != "" {
		err = fmt.Errorf("%w; it said: %s", err, said)
	}
	return &problem.Error{Op: "start penstock", Err: err, Hint: "penstock status; the whole log is " + log}
}
