package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-dev/penstock/internal/ci/runs"
)

type logFlags struct {
	job        string
	step       int
	from       int64
	limit      int64
	follow     bool
	timestamps bool
	raw        bool
	exit       bool
}

func newCILogs(g *Globals) *cobra.Command {
	var f logFlags
	c := &cobra.Command{
		Use:     "logs RUN",
		Short:   "Print the log of a run",
		Example: "  penstock ci logs 12 --follow\n  penstock ci logs 12 --job test --step 3 --timestamps\n  penstock ci logs 12 --job test --step 3 --from 900000 --limit 100",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, path, err := g.run(args[0])
			if err != nil {
				return err
			}
			q := url.Values{"prefix": {"true"}, "follow": {strconv.FormatBool(f.follow)}, "step": {strconv.Itoa(f.step)}}
			if f.job != "" {
				q.Set("job", f.job)
			}
			if f.from != 0 || f.limit != 0 {
				q.Set("from", strconv.FormatInt(f.from, 10))
				q.Set("limit", strconv.FormatInt(f.limit, 10))
			}
			log, err := cl.Stream(c.Context(), http.MethodGet, path+"/logs?"+q.Encode(), nil, "")
			if err != nil {
				return runError("read log of run", args[0], err)
			}
			defer log.Close()
			if err := printLog(g.Out, log, f); err != nil {
				return runError("read log of run", args[0], err)
			}
			if !f.exit {
				return nil
			}
			var r runs.Run
			if err := cl.Do(c.Context(), http.MethodGet, path, nil, &r); err != nil {
				return runError("show run", args[0], err)
			}
			return exitStatus(r)
		},
	}
	c.Flags().StringVar(&f.job, "job", "", "only this `job`, by id or name")
	c.Flags().IntVar(&f.step, "step", 0, "only the step with this `number`")
	c.Flags().Int64Var(&f.from, "from", 0, "begin with this `row` of the step, counted from 0; needs --job and --step")
	c.Flags().Int64Var(&f.limit, "limit", 0, "print this many `rows` of the step; needs --job and --step")
	c.Flags().BoolVarP(&f.follow, "follow", "f", false, "stay until the run ends")
	c.Flags().BoolVar(&f.timestamps, "timestamps", false, "begin lines with the time")
	c.Flags().BoolVar(&f.raw, "raw", false, "print lines as they are kept: job, step, time and text")
	c.Flags().BoolVar(&f.exit, "exit-status", false, "end with exit code 1 when the run did not succeed")
	return c
}

// printLog prints the lines of a log under a heading for each job and step.
func printLog(w io.Writer, log io.Reader, f logFlags) error {
	r := bufio.NewReader(log)
	heading := ""
	for {
		line, err := r.ReadString('\n')
		if line != "" {
			if werr := printLogLine(w, strings.TrimSuffix(line, "\n"), &heading, f); werr != nil {
				return werr
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func printLogLine(w io.Writer, line string, heading *string, f logFlags) error {
	job, rest, ok := strings.Cut(line, "\t")
	step, rest, ok2 := strings.Cut(rest, "\t")
	if f.raw || !ok || !ok2 {
		_, err := fmt.Fprintln(w, line)
		return err
	}
	if h := job + " / " + step; h != *heading {
		*heading = h
		if _, err := fmt.Fprintf(w, "── %s\n", h); err != nil {
			return err
		}
	}
	at, text, _ := strings.Cut(rest, " ")
	text, show := plainLine(text)
	if !show {
		return nil
	}
	if f.timestamps {
		text = at + " " + text
	}
	_, err := fmt.Fprintln(w, text)
	return err
}

// plainLine turns the marks that a log carries into words.
func plainLine(text string) (string, bool) {
	if text == "##[endgroup]" {
		return "", false
	}
	for _, m := range []struct{ mark, word string }{
		{"##[group]", "▸ "}, {"##[error]", "error: "}, {"##[warning]", "warning: "}, {"##[notice]", "notice: "}, {"##[debug]", "debug: "}, {"[command]", "$ "},
	} {
		if rest, ok := strings.CutPrefix(text, m.mark); ok {
			return m.word + rest, true
		}
	}
	return text, true
}
