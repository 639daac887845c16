package workflow

import (
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

var idPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,99}$`)

// laterJobKeys are keys of GitHub's language that come with a later version.
var laterJobKeys = []string{"strategy", "environment", "concurrency", "container", "services", "snapshot", "uses", "with", "secrets", "cancel-timeout-minutes"}

func (p *parser) jobs(n *yaml.Node) []*Job {
	var out []*Job
	for _, e := range p.mapping(n, "jobs") {
		switch {
		case !idPattern.MatchString(e.key):
			p.report(e.name, "job id '%s' is invalid: it must begin with a letter or _ and hold only letters, digits, - and _, at most 100", e.key)
		case strings.HasPrefix(e.key, "__"):
			p.report(e.name, "job id '%s' is invalid: ids that begin with __ are reserved", e.key)
		}
		out = append(out, p.job(e))
	}
	switch {
	case n.Kind == yaml.MappingNode && len(out) == 0:
		p.report(n, "a workflow needs at least one job")
	case len(out) > maxJobs:
		p.report(n, "a workflow may have at most %d jobs", maxJobs)
	}
	return out
}

func (p *parser) job(e entry) *Job {
	j := &Job{ID: e.key, Pos: pos(e.name)}
	has := p.fields(e.value, "job "+e.key, map[string]func(entry){
		"name":              func(e entry) { j.Name = p.text(e.value, "name", &JobScope) },
		"needs":             func(e entry) { j.Needs = p.texts(e.value, "needs", nil) },
		"if":                func(e entry) { j.If = p.condition(e.value, JobIfScope) },
		"runs-on":           func(e entry) { j.RunsOn = p.runsOn(e.value) },
		"env":               func(e entry) { j.Env = p.env(e.value, &JobEnvScope) },
		"defaults":          func(e entry) { j.Defaults = p.defaults(e.value, &DefaultsScope) },
		"permissions":       func(e entry) { j.Permissions = p.permissions(e.value) },
		"outputs":           func(e entry) { j.Outputs = p.pairs(e.value, "outputs", &JobOutputsScope) },
		"timeout-minutes":   func(e entry) { j.TimeoutMinutes = p.number(e.value, "timeout-minutes", &JobScope) },
		"continue-on-error": func(e entry) { j.ContinueOnError = p.boolean(e.value, "continue-on-error", &JobScope) },
		"steps":             func(e entry) { j.Steps = p.steps(e.value) },
	}, laterJobKeys...)
	if e.value.Kind == yaml.MappingNode && !hasKey(e.value, "uses") {
		if !has["runs-on"] {
			p.report(e.name, "job %s lacks the required key 'runs-on'", e.key)
		}
	}
	return j
}

func hasKey(n *yaml.Node, key string) bool {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return true
		}
	}
	return false
}

func (p *parser) runsOn(n *yaml.Node) []Text {
	if n.Kind == yaml.MappingNode {
		var labels []Text
		p.fields(n, "runs-on", map[string]func(entry){
			"labels": func(e entry) { labels = p.texts(e.value, "labels", &JobScope) },
		}, "group")
		return labels
	}
	labels := p.texts(n, "runs-on", &JobScope)
	if len(labels) == 0 || labels[0].Empty() {
		p.report(n, "runs-on must name a label")
	}
	return labels
}

// graph checks needs: every name exists, there is a start and no cycle.
func (p *parser) graph(w *Workflow) {
	at := func(t Text) *yaml.Node { return &yaml.Node{Line: t.Pos.Line, Column: t.Pos.Col} }
	ok, start := true, false
	for _, j := range w.Jobs {
		start = start || len(j.Needs) == 0
		for _, need := range j.Needs {
			if w.Job(need.Value) == nil {
				p.report(at(need), "job '%s' depends on unknown job '%s'", j.ID, need.Value)
				ok = false
			}
		}
	}
	if len(w.Jobs) > 0 && !start {
		p.report(at(Text{Pos: w.Jobs[0].Pos}), "the workflow must contain at least one job with no dependencies")
		return
	}
	if !ok {
		return
	}
	// Jobs that can be reached in order are removed; what remains is on a cycle
	// or behind one.
	left := map[string]*Job{}
	for _, j := range w.Jobs {
		left[j.ID] = j
	}
	for removed := true; removed; {
		removed = false
		for _, j := range w.Jobs {
			if left[j.ID] != nil && !waits(j, left) {
				delete(left, j.ID)
				removed = true
			}
		}
	}
	for _, j := range w.Jobs {
		if left[j.ID] == nil {
			continue
		}
		for _, need := range j.Needs {
			if left[need.Value] != nil && reaches(left[need.Value], j.ID, left, map[string]bool{}) {
				p.report(at(need), "job '%s' depends on job '%s', which creates a cycle in the dependency graph", j.ID, need.Value)
			}
		}
	}
}

func waits(j *Job, left map[string]*Job) bool {
	for _, need := range j.Needs {
		if left[need.Value] != nil {
			return true
		}
	}
	return false
}

func reaches(from *Job, id string, left map[string]*Job, seen map[string]bool) bool {
	if from.ID == id {
		return true
	}
	if seen[from.ID] {
		return false
	}
	seen[from.ID] = true
	for _, need := range from.Needs {
		if next := left[need.Value]; next != nil && reaches(next, id, left, seen) {
			return true
		}
	}
	return false
}

// generatedID names a step that has no id: __run, __actions_checkout, and so on.
func generatedID(s *Step, taken map[string]bool) string {
	id := "__run"
	if !s.Uses.Empty() {
		name, _, _ := strings.Cut(s.Uses.Value, "@")
		name = strings.TrimPrefix(name, "docker://")
		name = strings.TrimPrefix(name, "./")
		id = "__" + regexp.MustCompile(`[^A-Za-z0-9_-]`).ReplaceAllString(name, "_")
	}
	if len(id) > 95 {
		id = id[:95]
	}
	for n, first := 2, id; taken[strings.ToLower(id)]; n++ {
		id = fmt.Sprintf("%s_%d", first, n)
	}
	return id
}
