package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/penstock-dev/penstock/internal/ci/actions"
	"github.com/penstock-dev/penstock/internal/ci/jobdir"
	"github.com/penstock-dev/penstock/internal/ci/runner"
	"github.com/penstock-dev/penstock/internal/face/cli"
	"github.com/penstock-dev/penstock/internal/host/exec"
	"github.com/penstock-dev/penstock/internal/host/exec/process"
	"github.com/penstock-dev/penstock/internal/host/exec/sandbox"
	"github.com/penstock-dev/penstock/internal/host/machine"
	"github.com/penstock-dev/penstock/internal/host/node"
	"github.com/penstock-dev/penstock/internal/supply/build"
)

// newRunner is the process of one CI job; the server starts it.
func newRunner(g *cli.Globals) *cobra.Command {
	var o runnerOptions
	c := &cobra.Command{
		Use:    "runner",
		Short:  "Run one CI job (the server does)",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			m, err := machine.At(g.DataDir)
			if err != nil {
				return err
			}
			o.machine = m
			log := slog.New(slog.NewJSONHandler(g.Err, &slog.HandlerOptions{Level: slog.LevelInfo - slog.Level(4*g.Verbose)}))
			if o.standbyFD >= 0 {
				return standBy(c.Context(), o, log)
			}
			return o.run(c.Context(), log)
		},
	}
	f := c.Flags()
	f.StringVar(&o.dir, "job-dir", "", "`directory` of the job")
	f.IntVar(&o.lockFD, "lock-fd", -1, "file `descriptor` of the job's lock")
	f.IntVar(&o.standbyFD, "standby-fd", -1, "file `descriptor` of a socket on which the job will come")
	f.StringVar(&o.listen, "server-listen", machine.DefaultListen, "`address` on which the server listens")
	f.StringVar(&o.runtime, "runtime", defaultRuntime(), runtimes)
	return c
}

type runnerOptions struct {
	machine           *machine.Machine
	dir, listen       string
	runtime           string
	lockFD, standbyFD int
	sandbox           *lazySandbox // one that is there already
}

// run runs the job in o.dir.
func (o runnerOptions) run(ctx context.Context, log *slog.Logger) error {
	lock, err := runner.HoldLock(o.lockFD)
	if err != nil {
		return err
	}
	defer lock.Close()
	return o.runLocked(ctx, lock, log)
}

func (o runnerOptions) runLocked(ctx context.Context, lock *os.File, log *slog.Logger) error {
	m := o.machine
	r := runner.Options{
		Dir: jobdir.Dir(o.dir), Lock: lock, Log: log, Tools: filepath.Join(m.DataDir(), "ci", "tools"),
		Actions: actions.New(imageBuilder{build.New(build.Options{
			Socket: m.BuildSocket(), Importer: nodeImages{node.New(m.NodeSocket())}, Registries: registryHosts(o.listen), Log: log,
		})}),
	}
	if o.sandbox == nil {
		o.sandbox = &lazySandbox{dataDir: m.DataDir(), log: log}
	}
	if err := chooseRuntime(&r, o, log); err != nil {
		return err
	}
	return runner.Run(ctx, r)
}

// chooseRuntime sets where steps run and how they reach the server. A sandbox
// that this machine cannot give becomes the job's own error.
func chooseRuntime(r *runner.Options, o runnerOptions, log *slog.Logger) error {
	kind, image, err := parseRuntime(o.runtime)
	if err != nil {
		return err
	}
	switch kind {
	case "process":
		r.Runtime = process.New(log)
	default:
		r.Runtime = o.sandbox
		if kind == "container" {
			r.Runtime = lazyContainer{o.machine.DataDir(), o.listen, image, log}
		}
		_, port, err := net.SplitHostPort(o.listen)
		if err != nil {
			return fmt.Errorf("server address %q: %w", o.listen, err)
		}
		r.Hosts = map[string]string{"penstock.localhost": "127.0.0.1"}
		r.Forward = map[string]string{net.JoinHostPort("127.0.0.1", port): o.listen}
		// What is deployed is checked by jobs, too.
		settings, err := o.machine.Settings()
		if err != nil {
			return err
		}
		if _, port, err := net.SplitHostPort(settings.GatewayListen); err == nil {
			r.Forward[net.JoinHostPort("127.0.0.1", port)] = settings.GatewayListen
		}
	}
	return nil
}

// lazySandbox makes the runtime when the job opens its session, so that what
// is missing on this machine is in the job's log; or earlier, when it is warmed.
type lazySandbox struct {
	dataDir string
	log     *slog.Logger
	made    *sandbox.Runtime
}

func (*lazySandbox) Name() string { return "sandbox" }

func (l *lazySandbox) make() (err error) {
	if l.made == nil {
		l.made, err = newSandbox(l.dataDir, l.log)
	}
	return err
}

// warm makes the runtime with a sandbox for the job to come.
func (l *lazySandbox) warm(ctx context.Context) error {
	if err := l.make(); err != nil {
		return err
	}
	return l.made.Warm(ctx)
}

func (l *lazySandbox) close() error {
	if l.made == nil {
		return nil
	}
	return l.made.Close()
}

func (l *lazySandbox) Open(ctx context.Context, spec exec.SessionSpec) (exec.Session, error) {
	if err := l.make(); err != nil {
		return nil, err
	}
	s, err := l.made.Open(ctx, spec)
	if err != nil {
		return nil, err
	}
	return sandboxSession{s, l.close}, nil
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
