package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/doctor"
	"github.com/penstock-dev/penstock/internal/host/machine"
)

// marks give each state of a check a shape besides its word.
var marks = map[doctor.State]string{doctor.OK: "✓", doctor.Warn: "▲", doctor.Fail: "✗"}

func newDoctor(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Check this machine and say what is missing",
		Long:  "Check this machine and say what is missing and which command puts it right.\nLeaves with 1 when something keeps Penstock from starting.",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			m, err := machine.At(g.DataDir)
			if err != nil {
				return err
			}
			s, err := m.Settings()
			if err != nil {
				return err
			}
			findings := m.Check(c.Context(), s)
			err = g.Print(findings, func(w io.Writer) {
				for _, f := range findings {
					fmt.Fprintf(w, "%s %s\t%s\t%s\n", marks[f.State], f.State, f.Check, f.Detail)
				}
			})
			if err != nil {
				return err
			}
			return checkFailed(findings, problem.ExitNegative)
		},
	}
}

// checkFailed is the error for findings that keep Penstock from starting. Its
// hint is what the first of them says to do.
func checkFailed(findings []doctor.Finding, code int) error {
	failed := doctor.Failed(findings)
	if len(failed) == 0 {
		return nil
	}
	cause := failed[0].Check + ": " + failed[0].Detail
	if n := len(failed) - 1; n > 0 {
		cause += fmt.Sprintf(" (and %d more: penstock doctor)", n)
	}
	return &problem.Error{Op: "this machine is not ready", Err: errors.New(cause), Code: code, Hint: failed[0].Fix}
}
