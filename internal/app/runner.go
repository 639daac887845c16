package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/ci/actions"
	"github.com/penstock-dev/penstock/internal/ci/jobdir"
	"github.com/penstock-dev/penstock/internal/ci/runner"
	"github.com/penstock-dev/penstock/internal/face/cli"
	"github.com/penstock-dev/penstock/internal/host/exec"
	"github.com/penstock-dev/penstock/internal/host/exec/process"
	"github.com/penstock-dev/penstock/internal/host/machine"
	"github.com/penstock-dev/penstock/internal/host/node"
	"github.com/penstock-dev/penstock/internal/supply/build"
)

// newRunner is the process of one CI job; the server starts it.
func newRunner(g *cli.Globals) *cobra.Command {
	var dir, listen, where string
	lockFD := -1
	c := &cobra.Command{
		Use:    "runner",
		Short:  "Run one CI job (the server does)",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			log := slog.New(slog.NewJSONHandler(g.Err, &slog.HandlerOptions{Level: slog.LevelInfo - slog.Level(4*g.Verbose)}))
			lock, err := runner.HoldLock(lockFD)
			if err != nil {
				return err
			}
			defer lock.Close()
			m, err := machine.At(g.DataDir)
			if err != nil {
				return err
			}
			o := runner.Options{
				Dir: jobdir.Dir(dir), Lock: lock, Log: log, Tools: filepath.Join(m.DataDir(), "ci", "tools"),
				Actions: actions.New(imageBuilder{build.New(build.Options{Socket: m.BuildSocket(), Importer: nodeImages{node.New(m.NodeSocket())}, Log: log})}),
			}
			if err := chooseRuntime(&o, where, listen, m.DataDir(), log); err != nil {
				return err
			}
			return runner.Run(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "job-dir", "", "`directory` of the job")
	f.IntVar(&lockFD, "lock-fd", -1, "file `descriptor` of the job's lock")
	f.StringVar(&listen, "server-listen", machine.DefaultListen, "`address` on which the server listens")
	f.StringVar(&where, "runtime", defaultRuntime(), "where steps run: sandbox or process")
	return c
}

// chooseRuntime sets where steps run and how they reach the server. A sandbox
// that this machine cannot give becomes the job's own error.
func chooseRuntime(o *runner.Options, where, listen, dataDir string, log *slog.Logger) error {
	switch where {
	case "process":
		o.Runtime = process.New(log)
	case "sandbox":
		o.Runtime = lazySandbox{dataDir, log}
		_, port, err := net.SplitHostPort(listen)
		if err != nil {
			return fmt.Errorf("server address %q: %w", listen, err)
		}
		o.Hosts = map[string]string{"penstock.localhost": "127.0.0.1"}
		o.Forward = map[string]string{net.JoinHostPort("127.0.0.1", port): listen}
	default:
		return fmt.Errorf("%w: runtime %q is not sandbox or process", problem.ErrUsage, where)
	}
	return nil
}

// lazySandbox makes the runtime when the job opens its session, so that what
// is missing on this machine is in the job's log.
type lazySandbox struct {
	dataDir string
	log     *slog.Logger
}

func (lazySandbox) Name() string { return "sandbox" }

func (l lazySandbox) Open(ctx context.Context, spec exec.SessionSpec) (exec.Session, error) {
	r, err := newSandbox(l.dataDir, l.log)
	if err != nil {
		return nil, err
	}
	s, err := r.Open(ctx, spec)
	if err != nil {
		return nil, err
	}
	return sandboxSession{s, r.Close}, nil
}

// sandboxSession closes the runtime with its only session.
type sandboxSession struct {
	exec.Session
	close func() error
}

func (s sandboxSession) Close() error {
	if err := s.Session.Close(); err != nil {
		return err
	}
	return s.close()
}
