package workflow

import (
	"go.yaml.in/yaml/v3"
)

// events that GitHub knows.
var events = map[string]bool{}

func init() {
	for _, e := range []string{
		"branch_protection_rule", "check_run", "check_suite", "create", "delete", "deployment", "deployment_status",
		"discussion", "discussion_comment", "fork", "gollum", "image_version", "issue_comment", "issues", "label",
		"merge_group", "milestone", "page_build", "project", "project_card", "project_column", "public",
		"pull_request", "pull_request_comment", "pull_request_review", "pull_request_review_comment",
		"pull_request_target", "push", "registry_package", "release", "repository_dispatch", "schedule", "status",
		"watch", "workflow_call", "workflow_dispatch", "workflow_run",
	} {
		events[e] = true
	}
}

func (p *parser) on(n *yaml.Node) (on On) {
	switch n.Kind {
	case yaml.ScalarNode:
		p.event(&on, n, nil)
	case yaml.SequenceNode:
		for _, c := range n.Content {
			if c.Kind != yaml.ScalarNode {
				p.report(c, "an event must be a name")
				continue
			}
			p.event(&on, c, nil)
		}
	default:
		for _, e := range p.mapping(n, "on") {
			p.event(&on, e.name, e.value)
		}
	}
	if len(on.Events) == 0 && p.errors == 0 {
		p.report(n, "on must name at least one event")
	}
	return on
}

func (p *parser) event(on *On, name, config *yaml.Node) {
	if !events[name.Value] {
		p.report(name, "unknown event '%s'", name.Value)
		return
	}
	on.Events = append(on.Events, name.Value)
	if name.Value != "push" {
		p.warn(name, "event '%s' starts no runs in this version of Penstock; only push does", name.Value)
		return
	}
	on.Push = &Push{}
	if config == nil || config.Kind == yaml.ScalarNode && scalar(config) == nil {
		return
	}
	f := on.Push
	lists := map[string]*[]string{
		"branches": &f.Branches, "branches-ignore": &f.BranchesIgnore,
		"tags": &f.Tags, "tags-ignore": &f.TagsIgnore,
		"paths": &f.Paths, "paths-ignore": &f.PathsIgnore,
	}
	read := map[string]func(entry){}
	for key, list := range lists {
		read[key] = func(e entry) { *list = p.patterns(e) }
	}
	p.fields(config, "push", read)
	for _, key := range []string{"branches", "tags", "paths"} {
		if *lists[key] != nil && *lists[key+"-ignore"] != nil {
			p.report(config, "push has both %s and %s-ignore; only one of them may be used", key, key)
		}
	}
}

func (p *parser) patterns(e entry) []string {
	out := []string{}
	positive := false
	for _, t := range p.texts(e.value, e.key, nil) {
		if _, err := compilePattern(t.Value); err != nil {
			p.add(&yaml.Node{Line: t.Pos.Line, Column: t.Pos.Col}, false, err.Error())
			continue
		}
		positive = positive || t.Value[0] != '!'
		out = append(out, t.Value)
	}
	if len(out) > 0 && !positive {
		p.report(e.value, "%s needs at least one pattern without '!'", e.key)
	}
	return out
}
