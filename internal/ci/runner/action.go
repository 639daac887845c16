package runner

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/ci/actions"
	"github.com/penstock-dev/penstock/internal/ci/expr"
	"github.com/penstock-dev/penstock/internal/ci/jobdir"
	"github.com/penstock-dev/penstock/internal/ci/workflow"
	"github.com/penstock-dev/penstock/internal/host/exec"
	"github.com/penstock-dev/penstock/internal/host/logstore"
)

var _ actions.Step = (*step)(nil)

// runAction runs a `uses` step.
func (s *step) runAction(ctx context.Context) error {
	action := s.job.resolved[s.def]
	if err := s.resolveInputs(action); err != nil {
		return err
	}
	s.action = action
	var b strings.Builder
	b.WriteString("##[group]Run " + s.def.Uses.Value)
	for i, p := range s.def.With {
		if i == 0 {
			b.WriteString("\nwith:")
		}
		fmt.Fprintf(&b, "\n  %s: %s", p.Key, s.Input(p.Key))
	}
	s.printEnv(&b)
	b.WriteString("\n##[endgroup]")
	s.log.Print(b.String())
	return action.Run(ctx, s)
}

// resolveInputs evaluates `with` and checks it against what the action takes.
func (s *step) resolveInputs(action actions.Action) error {
	given, err := evaluatePairs(s.def.With, workflow.StepScope, s.exprEnv())
	if err != nil {
		return fmt.Errorf("evaluate with: %w", err)
	}
	declared := action.Inputs()
	inputs := map[string]string{}
	for name, in := range declared {
		v, err := evaluateText(workflow.Text{Value: in.Default}, workflow.StepScope, s.exprEnv())
		if err != nil {
			return fmt.Errorf("default of input %s: %w", name, err)
		}
		inputs[name] = expr.String(v)
	}
	for _, p := range given {
		name := strings.ToLower(p.name)
		in, ok := declared[name]
		if !ok {
			s.Warnf("Unexpected input(s) '%s', valid inputs are [%s]", p.name, strings.Join(names(declared), ", "))
			continue
		}
		if in.Refused != "" && p.value != inputs[name] && p.value != "" {
			return fmt.Errorf("input '%s' of %s: %s", p.name, s.def.Uses.Value, in.Refused)
		}
		inputs[name] = p.value
	}
	for _, name := range names(declared) {
		if declared[name].Required && strings.TrimSpace(inputs[name]) == "" {
			return fmt.Errorf("Input required and not supplied: %s", name) //nolint:staticcheck // GitHub's words
		}
	}
	s.inputs = inputs
	return nil
}

func names(in map[string]actions.Input) []string {
	out := make([]string, 0, len(in))
	for n := range in {
		out = append(out, n)
	}
	sort.Strings(out)
	return out
}

// The methods below are the step as actions see it.

func (s *step) Input(name string) string { return strings.TrimSpace(s.inputs[strings.ToLower(name)]) }

func (s *step) Printf(format string, args ...any) { s.log.Print(fmt.Sprintf(format, args...)) }

func (s *step) Warnf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.log.Print("##[warning]" + text)
	s.annotate(jobdir.Note{Level: "warning", Message: text})
}

func (s *step) Group(title string) func() {
	s.log.Print("##[group]" + title)
	return func() { s.log.Print("##[endgroup]") }
}

func (s *step) Exec(ctx context.Context, c actions.Command) (int, error) {
	if !c.Quiet {
		s.log.Print("[command]" + strings.Join(c.Args, " "))
	}
	env := s.env.clone()
	for _, kv := range c.Env {
		k, v, _ := strings.Cut(kv, "=")
		env.set(k, v)
	}
	out := logstore.NewLines(s.job.mask, s.log.Print) // what an action prints is no command
	ec := exec.Command{Args: c.Args, Env: env.list(), Dir: c.Dir, Stdin: c.Stdin, Stdout: out, Stderr: out}
	if c.Stdout != nil {
		ec.Stdout = c.Stdout
	}
	code, err := s.job.session.Run(ctx, ec)
	out.Flush()
	return code, err
}

func (s *step) SetOutput(name, value string) {
	if _, ok := s.outputs[name]; !ok {
		s.outputOrder = append(s.outputOrder, name)
	}
	s.outputs[name] = value
}

func (s *step) Built(digest string, tags, pushed []string) error {
	i := jobdir.Image{Digest: digest, Tags: tags, Pushed: pushed}
	if err := s.job.journal.Append(jobdir.Entry{Type: jobdir.Artifact, At: time.Now(), Step: s.number, Image: &i}); err != nil {
		return fmt.Errorf("report the image: %w", err)
	}
	return nil
}

func (s *step) AddPath(dir string) {
	path := []string{dir}
	for _, have := range s.job.path {
		if have != dir {
			path = append(path, have)
		}
	}
	s.job.path = path
}

func (s *step) State(name string) string    { return s.state[name] }
func (s *step) SetState(name, value string) { s.state[name] = value }

// Mask hides a value. When that is not possible the step fails.
func (s *step) Mask(secret string) {
	if err := s.job.mask.Add(secret); err != nil {
		s.failed = true
		s.log.Print("##[error]" + err.Error())
	}
}

func (s *step) Job() actions.Job {
	g := s.job.contexts.github
	return actions.Job{
		Repo: s.job.spec.Repo, Ref: contextString(g, "ref"), SHA: contextString(g, "sha"), ServerURL: s.job.spec.ServerURL,
		Token: s.job.secrets.Token, Workspace: s.job.workspace, Temp: s.job.Dir.Temp(), Private: filepath.Join(string(s.job.Dir), "private"),
	}
}

// saveSummary keeps the step's summary beside its log.
func (s *step) saveSummary(text string) error {
	text = strings.TrimRight(text, "\n")
	if strings.TrimSpace(text) == "" {
		return nil
	}
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = s.job.mask.Mask(lines[i])
	}
	return os.WriteFile(s.job.Dir.Summary(s.number), []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}
