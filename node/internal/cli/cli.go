// Package cli is the command line of penstock-node.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-dev/penstock/node/internal/buildinfo"
	"github.com/penstock-dev/penstock/node/internal/fault"
	"github.com/penstock-dev/penstock/node/internal/logs"
	"github.com/penstock-dev/penstock/node/internal/node"
)

// Main runs the command line and returns the exit code. started is when the
// process began.
func Main(started time.Time, args []string, out, errw io.Writer) int {
	a := &app{config: node.Defaults(), out: out, errw: errw}
	a.config.Started = started
	root := a.root()
	root.SetArgs(args)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := root.ExecuteContext(ctx)
	if err != nil {
		fault.Print(errw, err)
	}
	return fault.ExitCode(err)
}

type app struct {
	config    node.Config
	logLevel  string
	logFormat string
	out, errw io.Writer
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "penstock-node",
		Short:         "Kubernetes and BuildKit for one machine, in one process",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			var err error
			a.config.Log, err = a.logger()
			return err
		},
	}
	root.SetOut(a.out)
	root.SetErr(a.errw)
	f := root.PersistentFlags()
	f.StringVar(&a.config.DataDir, "data-dir", a.config.DataDir, "`directory` of the node's data")
	f.StringVar(&a.logLevel, "log-level", "info", "least `level` to log: debug, info, warn, error")
	f.StringVar(&a.logFormat, "log-format", "json", "`format` of the log: json, text")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &fault.Error{Op: "read the command line", Hint: c.CommandPath() + " --help", Err: errors.Join(fault.ErrUsage, err)}
	})
	root.AddCommand(a.run(), a.stop(), a.status(), a.version())
	return root
}

func (a *app) logger() (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(a.logLevel)); err != nil {
		return nil, fmt.Errorf("%w: --log-level %q is not one of debug, info, warn, error", fault.ErrUsage, a.logLevel)
	}
	o := &slog.HandlerOptions{Level: level}
	switch a.logFormat {
	case "json":
		return slog.New(slog.NewJSONHandler(a.errw, o)), nil
	case "text":
		return slog.New(slog.NewTextHandler(a.errw, o)), nil
	}
	return nil, fmt.Errorf("%w: --log-format %q is not one of json, text", fault.ErrUsage, a.logFormat)
}

func (a *app) run() *cobra.Command {
	var profile string
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the node until it is told to end",
		Long: `Run the node until it is told to end.

SIGTERM and SIGINT end only this process: Pods keep running, and the next run
takes them over. "penstock-node stop" ends the Pods too.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			a.config.Capture = logs.NewCapture(a.config.Log)
			a.config.OnReady = steady()
			if profile != "" {
				end, err := startProfile(profile)
				if err != nil {
					return err
				}
				defer end()
				settle := a.config.OnReady
				a.config.OnReady = func() { end(); settle() }
			}
			stop, err := node.Run(c.Context(), a.config)
			if err != nil || !stop {
				return err
			}
			return a.finishStop()
		},
	}
	f := c.Flags()
	f.StringVar(&a.config.Name, "node-name", a.config.Name, "`name` of the node")
	f.StringVar(&a.config.Bridge, "bridge", a.config.Bridge, "`interface` that Pods are connected to")
	f.StringVar(&a.config.PodCIDR, "pod-cidr", a.config.PodCIDR, "`range` of Pod addresses; its first is the node's")
	f.StringVar(&a.config.ServiceCIDR, "service-cidr", a.config.ServiceCIDR, "`range` of Service addresses")
	f.StringVar(&a.config.Domain, "cluster-domain", a.config.Domain, "DNS `domain` of the cluster")
	f.IntVar(&a.config.APIServerPort, "apiserver-port", a.config.APIServerPort, "`port` of the apiserver; 0 chooses a free one (with --api-only)")
	f.IntVar(&a.config.MaxPods, "max-pods", a.config.MaxPods, "largest `number` of Pods")
	f.BoolVar(&a.config.APIOnly, "api-only", false, "run a control plane on 127.0.0.1 without a node")
	f.BoolVar(&a.config.NoBuilder, "no-builder", false, "run without BuildKit")
	f.StringVar(&a.config.BuilderBridge, "builder-bridge", a.config.BuilderBridge, "`interface` that image builds are connected to")
	f.StringVar(&profile, "start-profile", "", "write a CPU profile of the start, until ready, to this `file`")
	f.StringVar(&a.config.BuilderCIDR, "builder-cidr", a.config.BuilderCIDR, "`range` of addresses of image builds")
	return c
}

// finishStop goes on as "penstock-node stop" in the same process: parts of
// Kubernetes never end their goroutines, and a kubelet that is still half alive
// would start again what the stop takes down.
func (a *app) finishStop() error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	args := []string{exe, "stop", "--data-dir", a.config.DataDir, "--log-level", a.logLevel, "--log-format", a.logFormat}
	if err := syscall.Exec(exe, args, os.Environ()); err != nil {
		return fmt.Errorf("start the stop: %w", err)
	}
	return nil
}

func (a *app) stop() *cobra.Command {
	var wipe bool
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "stop",
		Short: "End the node, its Pods and all that it made; the data stays",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), timeout)
			defer cancel()
			if err := askToStop(ctx, a.config.DataDir); err != nil {
				return err
			}
			return node.Stop(ctx, a.config, wipe)
		},
	}
	c.Flags().BoolVar(&wipe, "wipe", false, "remove the data too")
	c.Flags().DurationVar(&timeout, "timeout", 90*time.Second, "give up after this `time`")
	return c
}

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print version, commit, date and Kubernetes version as JSON",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return a.print(buildinfo.Get())
		},
	}
}

func (a *app) status() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Print the state of the running node as JSON",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := readStatus(c.Context(), a.config.DataDir)
			if err != nil {
				return err
			}
			return a.print(s)
		},
	}
}

func (a *app) print(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
