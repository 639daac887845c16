// Package console runs the examples of documents, so that what they promise
// stays true. An example stands in a fenced block of Markdown: "$ " begins a
// command, "> " continues it, what follows is what it prints on both streams
// ("..." stands for anything in a line and, alone, for any lines), "[exit N]"
// ends one that does not succeed.
package console

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// Example is one command of a document.
type Example struct {
	Line    int    // of the document, from 1
	Command string // for sh
	Want    string // output, with "..."
	Exit    int
}

// Examples finds the commands of the blocks of doc that have this info string.
func Examples(doc, info string) []Example {
	var all []Example
	inside := false
	for i, line := range strings.Split(doc, "\n") {
		switch {
		case strings.HasPrefix(line, "```"):
			inside = !inside && strings.TrimSpace(line[3:]) == info
		case !inside:
		case strings.HasPrefix(line, "$ "):
			all = append(all, Example{Line: i + 1, Command: line[2:]})
		case len(all) == 0:
		case strings.HasPrefix(line, "> "), line == ">": // the command goes on
			all[len(all)-1].Command += "\n" + strings.TrimPrefix(line[1:], " ")
		case strings.HasPrefix(line, "[exit "):
			_, _ = fmt.Sscanf(line, "[exit %d]", &all[len(all)-1].Exit)
		default:
			all[len(all)-1].Want += line + "\n"
		}
	}
	return all
}

// Run runs e in dir and says in what it differs from the document.
func (e Example) Run(ctx context.Context, dir string, env []string) error {
	c := exec.CommandContext(ctx, "sh", "-c", e.Command)
	c.Dir, c.Env = dir, env
	c.WaitDelay = 10 * time.Second
	out, err := c.CombinedOutput()
	if c.ProcessState == nil {
		return fmt.Errorf("%d: %s: %w", e.Line, e.Command, err)
	}
	if code := c.ProcessState.ExitCode(); code != e.Exit {
		return fmt.Errorf("%d: %s: exit code %d, want %d\n%s", e.Line, e.Command, code, e.Exit, out)
	}
	if !matches(string(out), e.Want) {
		return fmt.Errorf("%d: %s prints\n%s\nthe document says\n%s", e.Line, e.Command, out, e.Want)
	}
	return nil
}

func matches(got, want string) bool {
	var p strings.Builder
	for line := range strings.Lines(strings.TrimRight(want, "\n") + "\n") {
		if line == "...\n" {
			p.WriteString(`(?:.*\n)*?`)
			continue
		}
		p.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), `\.\.\.`, `.*`))
	}
	return regexp.MustCompile(`\A` + p.String() + `\z`).MatchString(strings.TrimRight(got, "\n") + "\n")
}
