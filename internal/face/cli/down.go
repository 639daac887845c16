package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/penstock-dev/penstock/internal/host/machine"
)

// NewDown makes the down command. stopJobs ends the CI jobs that still run
// under a data directory.
func NewDown(stopJobs func(ctx context.Context, dataDir string) error) Command {
	return func(g *Globals) *cobra.Command {
		var wipe bool
		c := &cobra.Command{
			Use:   "down",
			Short: "Stop the whole platform on this machine",
			Long:  "Stop the whole platform on this machine and leave no process, mount,\ninterface or rule behind. The data stays, unless --wipe is given.",
			Args:  cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error {
				m, err := machine.At(g.DataDir)
				if err != nil {
					return err
				}
				return m.Down(c.Context(), machine.DownOptions{
					Wipe:     wipe,
					StopJobs: func(ctx context.Context) error { return stopJobs(ctx, m.DataDir()) },
					Progress: func(what string) { fmt.Fprintf(g.Err, "○ stopping %s\n", what) },
				})
			},
		}
		c.Flags().BoolVar(&wipe, "wipe", false, "remove the data as well: repositories, runs, images, volumes")
		return c
	}
}
