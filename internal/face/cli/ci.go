package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/ci/runs"
	"github.com/penstock-dev/penstock/internal/face/client"
	"github.com/penstock-dev/penstock/internal/face/mark"
)

func newCI(g *Globals) *cobra.Command {
	c := &cobra.Command{Use: "ci", Short: "CI runs: list, show, follow, cancel"}
	c.AddCommand(newCIList(g), newCIView(g), newCILogs(g), newCICancel(g))
	return c
}

func newCIList(g *Globals) *cobra.Command {
	var repo string
	limit := 30
	c := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List runs, newest first",
		Example: "  penstock ci list --repo demo/shop",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := g.Client()
			if err != nil {
				return err
			}
			var all struct {
				Runs []runs.Run `json:"items"`
			}
			q := url.Values{"limit": {strconv.Itoa(limit)}}
			if repo != "" {
				q.Set("repo", repo)
			}
			if err := cl.Do(c.Context(), http.MethodGet, "/api/v1/runs?"+q.Encode(), nil, &all); err != nil {
				return runError("list runs", "", err)
			}
			return g.Print(all.Runs, func(w io.Writer) {
				if len(all.Runs) == 0 {
					fmt.Fprintln(g.Err, "no runs; push a commit with a file in .github/workflows")
					return
				}
				fmt.Fprintln(w, "RUN\tSTATUS\tREPOSITORY\tWORKFLOW\tREF\tTITLE\tTOOK\tAGE")
				for _, r := range all.Runs {
					fmt.Fprintf(w, "%d\t%s\t%s\t%s #%d\t%s\t%s\t%s\t%s\n", r.ID, state(r.Status, r.Conclusion), r.Repo, r.Workflow, r.Number,
						shortRef(r.Ref), shorten(r.Title, 50), took(r.StartedAt, r.FinishedAt, r.Status), shortAge(time.Since(r.CreatedAt)))
				}
			})
		},
	}
	c.Flags().StringVar(&repo, "repo", "", "only runs of this `OWNER/NAME`")
	c.Flags().IntVar(&limit, "limit", limit, "at most this `many`")
	return c
}

func newCIView(g *Globals) *cobra.Command {
	exit, summary := false, false
	c := &cobra.Command{
		Use:     "view RUN",
		Aliases: []string{"get"},
		Short:   "Show a run with its jobs and steps",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, path, err := g.run(args[0])
			if err != nil {
				return err
			}
			if summary {
				return printSummary(c.Context(), g, cl, args[0], path)
			}
			var r runs.Run
			if err := cl.Do(c.Context(), http.MethodGet, path, nil, &r); err != nil {
				return runError("show run", args[0], err)
			}
			if err := g.Print(r, func(w io.Writer) { printRun(w, r) }); err != nil {
				return err
			}
			if exit {
				return exitStatus(r)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&exit, "exit-status", false, "end with exit code 1 when the run did not succeed")
	c.Flags().BoolVar(&summary, "summary", false, "print what the steps wrote into their summaries")
	c.MarkFlagsMutuallyExclusive("exit-status", "summary")
	return c
}

func printSummary(ctx context.Context, g *Globals, cl *client.Client, run, path string) error {
	text, err := cl.Stream(ctx, http.MethodGet, path+"/summary", nil, "")
	if err != nil {
		return runError("show summary of run", run, err)
	}
	defer text.Close()
	_, err = io.Copy(g.Out, text)
	return err
}

// exitStatus is an error for a run that ended otherwise than well.
func exitStatus(r runs.Run) error {
	if r.Status != runs.Completed {
		return nil
	}
	switch r.Conclusion {
	case "success", "skipped":
		return nil
	}
	err := problem.ErrNegative
	if r.Conclusion != "failure" {
		err = fmt.Errorf("%w: %s", err, r.Conclusion)
	}
	return &problem.Error{Op: "run", Subject: strconv.FormatInt(r.ID, 10), Err: err, Hint: fmt.Sprintf("penstock ci view %d", r.ID)}
}

func printRun(w io.Writer, r runs.Run) {
	fmt.Fprintf(w, "%s  %s #%d of %s\n", state(r.Status, r.Conclusion), r.Workflow, r.Number, r.Repo)
	fmt.Fprintf(w, "%s\n%s %.10s by %s, %s ago, took %s\n", r.Title, shortRef(r.Ref), r.SHA, r.Actor, shortAge(time.Since(r.CreatedAt)), took(r.StartedAt, r.FinishedAt, r.Status))
	if r.Message != "" {
		fmt.Fprintf(w, "\n%s\n", r.Message)
	}
	for _, j := range r.Jobs {
		fmt.Fprintf(w, "\n%s\t%s\t%s\n", state(j.Status, j.Conclusion), j.Name, took(j.StartedAt, j.FinishedAt, j.Status))
		if j.Message != "" {
			fmt.Fprintf(w, "  %s\n", j.Message)
		}
		for _, s := range j.Steps {
			tolerated := ""
			if s.Outcome != s.Conclusion {
				tolerated = " (ended as " + s.Outcome + ", tolerated)"
			}
			fmt.Fprintf(w, "  %s\t%s%s\t%s\n", state(s.Status, s.Conclusion), s.Name, tolerated, took(s.StartedAt, s.FinishedAt, s.Status))
		}
		for _, a := range j.Annotations {
			place := ""
			if a.File != "" {
				place = fmt.Sprintf(" %s:%d", a.File, a.Line)
			}
			fmt.Fprintf(w, "  %s%s: %s\n", a.Level, place, a.Message)
		}
	}
}

func newCICancel(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "cancel RUN",
		Short: "Cancel a run",
		Long:  "Cancel a run. Running steps are interrupted; steps and jobs whose condition\nholds for a cancelled run (always(), cancelled()) still run.",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, path, err := g.run(args[0])
			if err != nil {
				return err
			}
			if err := cl.Do(c.Context(), http.MethodPost, path+"/cancel", nil, nil); err != nil {
				return runError("cancel run", args[0], err)
			}
			fmt.Fprintf(g.Err, "cancelling run %s; penstock ci view %s\n", args[0], args[0])
			return nil
		},
	}
}

// run is what a command about one run begins with: a client of the server and
// the path of the run called arg.
func (g *Globals) run(arg string) (cl *client.Client, path string, err error) {
	if path, err = runPath(arg); err != nil {
		return nil, "", err
	}
	cl, err = g.Client()
	return cl, path, err
}

func runPath(arg string) (string, error) {
	id, err := strconv.ParseInt(arg, 10, 64)
	if err != nil || id < 1 {
		return "", &problem.Error{Op: "find run", Subject: arg, Code: problem.ExitUsage, Err: errors.New("a run is named by its number"), Hint: "penstock ci list"}
	}
	return "/api/v1/runs/" + strconv.FormatInt(id, 10), nil
}

func runError(op, subject string, err error) error {
	if _, ok := errors.AsType[*problem.Error](err); ok {
		return err
	}
	p := &problem.Error{Op: op, Subject: subject, Err: err}
	if errors.Is(err, problem.ErrNotFound) {
		p.Hint = "penstock ci list"
	}
	return p
}

// state is a status as shape and word.
func state(s runs.Status, conclusion string) string {
	word := mark.Run(string(s), conclusion)
	return mark.Of(word) + " " + word
}

func took(from, to time.Time, s runs.Status) string {
	if from.IsZero() || s == runs.Queued {
		return ""
	}
	if to.IsZero() {
		if s == runs.Completed {
			return ""
		}
		to = time.Now()
	}
	d := to.Sub(from)
	if d < 10*time.Second {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return d.Round(time.Second).String()
}

func shortRef(ref string) string {
	return strings.TrimPrefix(strings.TrimPrefix(ref, "refs/heads/"), "refs/tags/")
}

func shorten(s string, most int) string {
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return string(r[:most-1]) + "…"
}
