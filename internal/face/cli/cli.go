// Package cli is the command line: one file per noun, thin commands over the
// API client, the cluster and the rooms' read models. Results go to standard
// output, everything else to standard error; exit codes are those of
// base/problem.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Globals are the flags and streams that every command shares.
type Globals struct {
	In      io.Reader
	Out     io.Writer // results
	Err     io.Writer // progress, warnings, errors
	DataDir string    // where this machine's Penstock keeps its data
	Server  string    // base URL of the server, "http://penstock.localhost:7080"
	Output  string    // table, json, yaml
	Verbose int       // -v, -vv
}

// Command makes one command from the globals.
type Command func(g *Globals) *cobra.Command

// Log returns the logger for commands: warnings only, more with -v.
func (g *Globals) Log() *slog.Logger {
	level := slog.LevelWarn - slog.Level(4*min(g.Verbose, 2))
	return slog.New(slog.NewTextHandler(g.Err, &slog.HandlerOptions{Level: level}))
}

// Main runs the command line args (without the program name) and returns the
// exit code. commands are added to the ones of this package.
func Main(ctx context.Context, args []string, in io.Reader, out, errw io.Writer, commands ...Command) int {
	g := &Globals{In: in, Out: out, Err: errw}
	root := newRoot(g, commands)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return problem.ExitOK
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		fmt.Fprintln(errw, "interrupted")
		return problem.ExitInterrupted
	}
	problem.Print(errw, err)
	return problem.ExitCode(err)
}

func newRoot(g *Globals, commands []Command) *cobra.Command {
	root := &cobra.Command{
		Use:           "penstock",
		Short:         "From a commit to production, on one machine or any cluster",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetIn(g.In)
	root.SetOut(g.Out)
	root.SetErr(g.Err)
	f := root.PersistentFlags()
	f.StringVar(&g.DataDir, "data-dir", envOr("PENSTOCK_DATA_DIR", defaultDataDir()), "directory of this machine's Penstock `data` ($PENSTOCK_DATA_DIR)")
	f.StringVar(&g.Server, "server", envOr("PENSTOCK_SERVER", defaultServer), "`URL` of the Penstock server ($PENSTOCK_SERVER)")
	f.StringVarP(&g.Output, "output", "o", "table", "output `format`: table, json or yaml")
	f.CountVarP(&g.Verbose, "verbose", "v", "say more (-vv: even more)")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		switch g.Output {
		case "table", "json", "yaml":
			return nil
		}
		return fmt.Errorf("%w: output format %q is not one of table, json, yaml", problem.ErrUsage, g.Output)
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &problem.Error{Op: "read the command line", Subject: c.CommandPath(), Code: problem.ExitUsage, Err: err, Hint: c.CommandPath() + " --help"}
	})
	own := []Command{
		newApp,
		newAudit,
		newCredential,
		newDemo,
		newDoctor,
		newGateway,
		newImage,
		newKubeconfig,
		newLoginLink,
		newRepo,
		newCI,
		newStatus,
		newToken,
		newUp,
		newUser,
		newVersion,
	}
	for _, c := range append(own, commands...) {
		root.AddCommand(c(g))
	}
	root.SetHelpCommand(newHelp())
	root.InitDefaultCompletionCmd()
	usageErrors(root)
	return root
}

// defaultServer is where penstock up lets the server answer.
const defaultServer = "http://penstock.localhost:7080"

func envOr(key, def string) string {
	if v := os.Getenv(key); v != "" {
		return v
	}
	return def
}

func defaultDataDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/penstock"
	}
	if d := os.Getenv("XDG_DATA_HOME"); d != "" {
		return filepath.Join(d, "penstock")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return filepath.Join(os.TempDir(), "penstock")
	}
	return filepath.Join(home, ".local", "share", "penstock")
}
