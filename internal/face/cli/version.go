package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/penstock-dev/penstock/internal/base/buildinfo"
)

func newVersion(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print version, commit and date of this build",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			i := buildinfo.Get()
			return g.Print(i, func(w io.Writer) {
				fmt.Fprintf(w, "penstock %s\ncommit\t%s\ndate\t%s\ngo\t%s %s/%s\n", i.Version, i.Commit, i.Date, i.Go, i.OS, i.Arch)
			})
		},
	}
}
