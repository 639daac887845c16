package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/machine"
)

// processMarks give each state of a process a shape besides its word.
var processMarks = map[string]string{"stopped": "○", "starting": "◔", "ready": "✓"}

func newStatus(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the processes of this machine's Penstock and where they answer",
		Long:  "Show the processes of this machine's Penstock and where they answer.\nLeaves with 1 unless everything is ready.",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			m, err := machine.At(g.DataDir)
			if err != nil {
				return err
			}
			st, err := m.Status(c.Context())
			if err != nil {
				return err
			}
			if err := g.Print(st, func(w io.Writer) { printStatus(w, st, time.Now()) }); err != nil {
				return err
			}
			if !st.Ready {
				return &problem.Error{Op: "penstock is not ready", Code: problem.ExitNegative, Hint: statusHint(st)}
			}
			return nil
		},
	}
}

func statusHint(st machine.Status) string {
	if !st.Supervised {
		return "penstock up"
	}
	for _, p := range st.Processes {
		if p.State != "ready" {
			return "the log of " + p.Name + " is " + p.Log
		}
	}
	return ""
}

func printStatus(w io.Writer, st machine.Status, now time.Time) {
	fmt.Fprintln(w, "PROCESS\tSTATE\tPID\tAGE\tDETAIL")
	for _, p := range st.Processes {
		pid, age := "-", "-"
		if p.PID != 0 {
			pid, age = fmt.Sprint(p.PID), shortAge(now.Sub(p.Since))
		}
		detail := p.Detail
		if detail == "" && p.State == "ready" {
			switch p.Name {
			case machine.Server:
				detail = st.Server
			case machine.Gateway:
				detail = st.Gateway
			case machine.Node:
				detail = "kubectl --kubeconfig " + st.Kubeconfig
			}
		}
		fmt.Fprintf(w, "%s\t%s %s\t%s\t%s\t%s\n", p.Name, processMarks[p.State], p.State, pid, age, detail)
	}
	if !st.Supervised && st.Processes[0].PID != 0 {
		fmt.Fprintln(w, "\nNothing supervises these processes: penstock up adopts them.")
	}
}

// shortAge writes a duration the way kubectl does: 12s, 3m, 5h, 2d.
func shortAge(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
