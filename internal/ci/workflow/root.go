package workflow

import (
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/penstock-dev/penstock/internal/ci/expr"
)

func (p *parser) workflow(n *yaml.Node) *Workflow {
	w := &Workflow{Path: p.path, Name: p.path}
	has := p.fields(n, "the workflow", map[string]func(entry){
		"name": func(e entry) {
			if t := p.text(e.value, "name", nil); !t.Empty() {
				w.Name = t.Value
			}
		},
		"run-name":    func(e entry) { w.RunName = p.text(e.value, "run-name", &RunNameScope) },
		"description": func(e entry) { p.text(e.value, "description", nil) },
		"on":          func(e entry) { w.On = p.on(e.value) },
		"env":         func(e entry) { w.Env = p.env(e.value, &WorkflowEnvScope) },
		"defaults":    func(e entry) { w.Defaults = p.defaults(e.value, nil) },
		"permissions": func(e entry) { w.Permissions = p.permissions(e.value) },
		"jobs":        func(e entry) { w.Jobs = p.jobs(e.value) },
	}, "concurrency")
	for _, key := range []string{"on", "jobs"} {
		if n.Kind == yaml.MappingNode && !has[key] {
			p.report(n, "required key '%s' is missing", key)
		}
	}
	p.graph(w)
	return w
}

func (p *parser) env(n *yaml.Node, scope *expr.Scope) []Pair {
	pairs := p.pairs(n, "env", scope)
	for _, pair := range pairs {
		if pair.Key == "" || strings.ContainsAny(pair.Key, "=\x00") {
			p.report(n, "'%s' cannot be the name of an environment variable", pair.Key)
		}
	}
	return pairs
}

func (p *parser) defaults(n *yaml.Node, scope *expr.Scope) (d Defaults) {
	p.fields(n, "defaults", map[string]func(entry){"run": func(e entry) {
		p.fields(e.value, "defaults.run", map[string]func(entry){
			"shell":             func(e entry) { d.Shell = p.text(e.value, "shell", scope) },
			"working-directory": func(e entry) { d.WorkingDirectory = p.text(e.value, "working-directory", scope) },
		})
	}})
	return d
}

// permissionScopes of a job's token, and whether write is one of their levels.
var permissionScopes = map[string]bool{
	"actions": true, "artifact-metadata": true, "attestations": true, "checks": true, "code-quality": true,
	"contents": true, "copilot-requests": true, "deployments": true, "discussions": true, "drives": true,
	"id-token": true, "issues": true, "models": false, "packages": true, "pages": true, "pull-requests": true,
	"repository-projects": true, "security-events": true, "statuses": true, "vulnerability-alerts": true,
}

func (p *parser) permissions(n *yaml.Node) Permissions {
	out := Permissions{}
	if n.Kind == yaml.ScalarNode {
		level, ok := map[string]string{"read-all": "read", "write-all": "write"}[n.Value]
		if !ok {
			p.report(n, "permissions must be read-all, write-all or a mapping of scopes to read, write or none")
			return out
		}
		for s, writable := range permissionScopes {
			out[s] = level
			if level == "write" && !writable {
				out[s] = "read"
			}
		}
		return out
	}
	for _, e := range p.mapping(n, "permissions") {
		writable, known := permissionScopes[e.key]
		level := p.text(e.value, "permission "+e.key, nil)
		switch {
		case !known:
			p.report(e.name, "unknown permission '%s'", e.key)
		case level.Value == "read" && e.key == "id-token",
			level.Value == "write" && !writable,
			level.Value != "read" && level.Value != "write" && level.Value != "none":
			p.report(e.value, "unexpected level '%s' for permission %s", level.Value, e.key)
		default:
			out[e.key] = level.Value
		}
	}
	return out
}
