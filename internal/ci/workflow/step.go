package workflow

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxSteps of one job.
const maxSteps = 1000

func (p *parser) steps(n *yaml.Node) []*Step {
	if n.Kind != yaml.SequenceNode {
		p.report(n, "steps must be a sequence")
		return nil
	}
	if len(n.Content) > maxSteps {
		p.report(n, "a job may have at most %d steps", maxSteps)
		return nil
	}
	out := make([]*Step, 0, len(n.Content))
	taken := map[string]bool{}
	for _, c := range n.Content {
		s := p.step(c)
		if s.ID != "" {
			if taken[strings.ToLower(s.ID)] {
				p.report(c, "the id '%s' is used by more than one step of the job", s.ID)
			}
			taken[strings.ToLower(s.ID)] = true
		}
		out = append(out, s)
	}
	for _, s := range out {
		if s.ID == "" {
			s.ID = generatedID(s, taken)
			taken[strings.ToLower(s.ID)] = true
		}
	}
	return out
}

func (p *parser) step(n *yaml.Node) *Step {
	s := &Step{Pos: pos(n)}
	has := p.fields(n, "the step", map[string]func(entry){
		"id": func(e entry) {
			s.ID = p.text(e.value, "id", nil).Value
			if !idPattern.MatchString(s.ID) || strings.HasPrefix(s.ID, "__") {
				p.report(e.value, "step id '%s' is invalid: it must begin with a letter or one _ and hold only letters, digits, - and _, at most 100", s.ID)
			}
		},
		"name":              func(e entry) { s.Name = p.text(e.value, "name", &StepScope) },
		"if":                func(e entry) { s.If = p.condition(e.value, StepIfScope) },
		"run":               func(e entry) { s.Run = p.text(e.value, "run", &StepScope) },
		"uses":              func(e entry) { s.Uses = p.uses(e.value) },
		"with":              func(e entry) { s.With = p.pairs(e.value, "with", &StepScope) },
		"env":               func(e entry) { s.Env = p.env(e.value, &StepScope) },
		"shell":             func(e entry) { s.Shell = p.text(e.value, "shell", &StepScope) },
		"working-directory": func(e entry) { s.WorkingDirectory = p.text(e.value, "working-directory", &StepScope) },
		"continue-on-error": func(e entry) { s.ContinueOnError = p.boolean(e.value, "continue-on-error", &StepScope) },
		"timeout-minutes":   func(e entry) { s.TimeoutMinutes = p.number(e.value, "timeout-minutes", &StepScope) },
	}, "background", "wait", "wait-all", "cancel", "parallel")
	if n.Kind != yaml.MappingNode {
		return s
	}
	switch {
	case has["run"] && has["uses"]:
		p.report(n, "a step has either run or uses, not both")
	case has["run"]:
		if has["with"] {
			p.report(n, "with belongs to a step with uses")
		}
	case has["uses"]:
		for _, key := range []string{"shell", "working-directory"} {
			if has[key] {
				p.report(n, "%s belongs to a step with run", key)
			}
		}
	case !hasKey(n, "parallel") && !hasKey(n, "wait") && !hasKey(n, "wait-all") && !hasKey(n, "cancel"):
		p.report(n, "a step needs run or uses")
	}
	return s
}

// uses checks the shape of a reference; which actions exist is the runner's.
func (p *parser) uses(n *yaml.Node) Text {
	t := p.text(n, "uses", nil)
	switch {
	case strings.HasPrefix(t.Value, "./"), strings.HasPrefix(t.Value, "$/"):
		p.report(n, "local actions ('%s') are not supported yet by this version of Penstock", t.Value)
	case strings.HasPrefix(t.Value, "docker://"):
		p.report(n, "container actions ('%s') are not supported yet by this version of Penstock", t.Value)
	default:
		name, ref, ok := strings.Cut(t.Value, "@")
		if !ok || ref == "" || strings.Count(name, "/") < 1 || strings.HasPrefix(name, "/") {
			p.report(n, "'%s' must be given as owner/repository@ref", t.Value)
		}
	}
	return t
}
