package runner

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/penstock-dev/penstock/internal/base/id"
	"github.com/penstock-dev/penstock/internal/ci/expr"
	"github.com/penstock-dev/penstock/internal/ci/workflow"
	"github.com/penstock-dev/penstock/internal/host/exec"
	"github.com/penstock-dev/penstock/internal/host/logstore"
)

// runScript runs a `run` step. The error says why the step failed.
func (s *step) runScript(ctx context.Context) error {
	body, err := evaluateText(s.def.Run, workflow.StepScope, s.exprEnv())
	if err != nil {
		return fmt.Errorf("evaluate run: %w", err)
	}
	shell, err := s.runDefault(s.def.Shell, func(d workflow.Defaults) workflow.Text { return d.Shell })
	if err != nil {
		return fmt.Errorf("evaluate shell: %w", err)
	}
	dir, err := s.runDefault(s.def.WorkingDirectory, func(d workflow.Defaults) workflow.Text { return d.WorkingDirectory })
	if err != nil {
		return fmt.Errorf("evaluate working-directory: %w", err)
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(s.job.workspace, dir)
	}
	sc, err := shellFor(shell, expr.String(body), s.env.values["PATH"])
	if err != nil {
		return err
	}
	path, err := s.writeScript(sc)
	if err != nil {
		return err
	}
	s.header(sc)
	code, err := s.exec(ctx, exec.Command{Args: sc.command(path), Env: s.env.list(), Dir: dir})
	switch {
	case err != nil && ctx.Err() == nil:
		return err
	case err != nil:
		return nil //nolint:nilerr // the context says what happened
	case code != 0:
		return fmt.Errorf("Process completed with exit code %d.", code) //nolint:staticcheck,revive // GitHub's words
	}
	return nil
}

// writeScript puts the script into a new file of the temporary directory, which
// goes with the job. A file that is there (made by an earlier step) is never
// followed or reused: nobody can know the name.
func (s *step) writeScript(sc script) (string, error) {
	path := filepath.Join(s.job.Dir.Temp(), id.New()+sc.extension)
	f, err := s.job.spares.at(path, 0o755)
	if err != nil {
		return "", fmt.Errorf("write script: %w", err)
	}
	_, err = f.WriteString(sc.body)
	return path, errors.Join(err, f.Close())
}

// runDefault takes the step's own value, else that of the job's defaults, else
// the workflow's.
func (s *step) runDefault(own workflow.Text, of func(workflow.Defaults) workflow.Text) (string, error) {
	t, scope := own, workflow.StepScope
	if t.Empty() {
		t, scope = of(s.job.spec.Job.Defaults), workflow.DefaultsScope
	}
	if t.Empty() {
		t = of(s.job.spec.Defaults)
	}
	v, err := evaluateText(t, scope, s.exprEnv())
	return expr.String(v), err
}

// header prints what is about to run, folded.
func (s *step) header(sc script) {
	body := strings.TrimRight(sc.body, "\n")
	first, _, _ := strings.Cut(strings.TrimLeft(body, "\n"), "\n")
	var b strings.Builder
	fmt.Fprintf(&b, "##[group]Run %s\n%s\nshell: %s", first, body, sc.display)
	s.printEnv(&b)
	b.WriteString("\n##[endgroup]")
	s.log.Print(b.String())
}

// printEnv lists the variables of the workflow, not those of the machine.
func (s *step) printEnv(b *strings.Builder) {
	listed := newEnviron()
	for _, n := range s.job.env.names {
		listed.set(n, s.env.values[n])
	}
	for _, p := range s.def.Env {
		listed.set(p.Key, s.env.values[p.Key])
	}
	for i, n := range listed.names {
		if i == 0 {
			b.WriteString("\nenv:")
		}
		fmt.Fprintf(b, "\n  %s: %s", n, listed.values[n])
	}
}

// exec runs a command whose output is read for workflow commands and logged.
func (s *step) exec(ctx context.Context, c exec.Command) (int, error) {
	out := logstore.NewLines(s.job.mask, s.line)
	c.Stdout, c.Stderr = out, out
	code, err := s.job.session.Run(ctx, c)
	out.Flush()
	return code, err
}
