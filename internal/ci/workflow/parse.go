package workflow

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/penstock-dev/penstock/internal/ci/expr"
)

// Limits of a workflow file.
const (
	MaxFileSize = 1 << 20
	maxDepth    = 50
	maxNodes    = 200_000
	maxErrors   = 10
	maxJobs     = 256
	maxMessage  = 500
)

// Parse reads the workflow file src, which lies at path in its repository. The
// workflow is nil exactly when one of the findings is an error.
func Parse(path string, src []byte) (*Workflow, []Finding) {
	p := &parser{path: path}
	if len(src) > MaxFileSize {
		p.report(nil, "the file is larger than %d bytes", MaxFileSize)
		return nil, p.findings
	}
	root := p.load(src)
	if root == nil {
		return nil, p.findings
	}
	w := p.workflow(root)
	if p.errors > 0 {
		return nil, p.findings
	}
	return w, p.findings
}

// parser collects findings while it walks the nodes.
type parser struct {
	path     string
	findings []Finding
	errors   int
	nodes    int
}

func (p *parser) add(n *yaml.Node, warning bool, message string) {
	if len(message) > maxMessage {
		message = message[:maxMessage] + "[...]"
	}
	f := Finding{Path: p.path, Warning: warning, Message: message}
	if n != nil {
		f.Pos = pos(n)
	}
	if warning {
		p.findings = append(p.findings, f)
		return
	}
	if p.errors++; p.errors <= maxErrors {
		p.findings = append(p.findings, f)
	}
}

func (p *parser) report(n *yaml.Node, format string, args ...any) {
	p.add(n, false, fmt.Sprintf(format, args...))
}

func (p *parser) warn(n *yaml.Node, format string, args ...any) {
	p.add(n, true, fmt.Sprintf(format, args...))
}

func pos(n *yaml.Node) Pos { return Pos{n.Line, n.Column} }

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// load reads the one document of the file, with aliases resolved and its depth
// and size checked.
func (p *parser) load(src []byte) *yaml.Node {
	d := yaml.NewDecoder(bytes.NewReader(src))
	var doc, more yaml.Node
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		p.report(nil, "the file is empty")
		return nil
	case err != nil:
		m := yamlLine.FindStringSubmatch(err.Error())
		f := Finding{Path: p.path, Message: "not valid YAML: " + yamlLine.ReplaceAllString(err.Error(), "")}
		if m != nil && m[1] != "" {
			_, _ = fmt.Sscan(m[1], &f.Pos.Line)
			f.Pos.Col = 1
		}
		p.findings, p.errors = append(p.findings, f), p.errors+1
		return nil
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		p.report(&more, "the file holds more than one YAML document")
		return nil
	}
	return p.resolve(doc.Content[0], 1)
}

// resolve replaces aliases by what they name.
func (p *parser) resolve(n *yaml.Node, depth int) *yaml.Node {
	if p.nodes++; p.nodes > maxNodes {
		if p.nodes == maxNodes+1 {
			p.report(n, "the file holds more than %d values", maxNodes)
		}
		return nil
	}
	if depth > maxDepth {
		p.report(n, "nested deeper than %d levels", maxDepth)
		return nil
	}
	if n.Kind == yaml.AliasNode {
		target := *n.Alias
		target.Line, target.Column = n.Line, n.Column
		return p.resolve(&target, depth+1)
	}
	if n.Style&yaml.TaggedStyle != 0 && !p.tagged(n) {
		return nil
	}
	out := *n
	out.Content = make([]*yaml.Node, 0, len(n.Content))
	for _, c := range n.Content {
		r := p.resolve(c, depth+1)
		if r == nil {
			return nil
		}
		out.Content = append(out.Content, r)
	}
	return &out
}

// tagged checks a tag that the file gives itself: only those of the core schema
// exist, and a value must be of the type its tag says.
func (p *parser) tagged(n *yaml.Node) bool {
	v := any(nil)
	if n.Kind == yaml.ScalarNode {
		v = scalar(n)
	}
	ok := false
	switch n.Tag {
	case "!!str", "!!map", "!!seq":
		n.Style |= yaml.DoubleQuotedStyle // text, whatever it looks like
		return true
	case "!!null":
		ok = v == nil
	case "!!bool":
		_, ok = v.(bool)
	case "!!int", "!!float":
		_, ok = v.(float64)
	default:
		p.report(n, "unexpected tag '%s'", n.Tag)
		return false
	}
	if !ok {
		p.report(n, "the value '%s' is invalid for the type '%s'", n.Value, n.Tag)
	}
	return ok
}

// entry is one key of a mapping.
type entry struct {
	key   string
	name  *yaml.Node
	value *yaml.Node
}

// mapping returns the entries of n, which must be a mapping; what is the name
// of the thing in messages.
func (p *parser) mapping(n *yaml.Node, what string) []entry {
	if n.Kind != yaml.MappingNode {
		p.report(n, "%s must be a mapping", what)
		return nil
	}
	var out []entry
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		switch {
		case k.Kind != yaml.ScalarNode:
			p.report(k, "a key of %s must be text", what)
			continue
		case k.Tag == "!!merge":
			p.report(k, "merge keys (<<) are not part of the workflow language; use an alias for the whole mapping")
			continue
		case strings.Contains(k.Value, "${{"):
			p.report(k, "an expression as a key is not supported yet")
			continue
		case seen[strings.ToLower(k.Value)]:
			p.report(k, "'%s' is already defined", k.Value)
			continue
		}
		seen[strings.ToLower(k.Value)] = true
		out = append(out, entry{k.Value, k, n.Content[i+1]})
	}
	return out
}

// fields hands every entry of a mapping with fixed keys to its reader. Keys in
// later are known to GitHub but not served yet; all others are mistakes.
func (p *parser) fields(n *yaml.Node, what string, read map[string]func(entry), later ...string) (has map[string]bool) {
	has = map[string]bool{}
	for _, e := range p.mapping(n, what) {
		fn, ok := read[e.key]
		switch {
		case ok:
			has[e.key] = true
			fn(e)
		case contains(later, e.key):
			p.report(e.name, "'%s' is not supported yet by this version of Penstock", e.key)
		default:
			var keys []string
			for k := range read {
				keys = append(keys, k)
			}
			sort.Strings(keys)
			p.report(e.name, "unexpected key '%s' in %s; it may have: %s", e.key, what, strings.Join(keys, ", "))
		}
	}
	return has
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// text reads a scalar whose expressions may use scope; no scope: no expressions.
func (p *parser) text(n *yaml.Node, what string, scope *expr.Scope) Text {
	if n.Kind != yaml.ScalarNode {
		p.report(n, "%s must be a single value, not a %s", what, kind(n))
		return Text{Pos: pos(n)}
	}
	t := Text{Value: expr.String(scalar(n)), Pos: pos(n)}
	if !strings.Contains(t.Value, "${{") {
		return t
	}
	if scope == nil {
		p.report(n, "%s cannot hold an expression", what)
		return t
	}
	if _, err := expr.ParseTemplate(t.Value, *scope); err != nil {
		p.report(n, "%s", err)
	}
	return t
}

func kind(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "mapping"
	case yaml.SequenceNode:
		return "sequence"
	}
	return "scalar"
}

// texts reads one scalar or a sequence of them.
func (p *parser) texts(n *yaml.Node, what string, scope *expr.Scope) []Text {
	if n.Kind != yaml.SequenceNode {
		return []Text{p.text(n, what, scope)}
	}
	out := make([]Text, 0, len(n.Content))
	for _, c := range n.Content {
		out = append(out, p.text(c, what, scope))
	}
	return out
}

// pairs reads a mapping of free names to scalars.
func (p *parser) pairs(n *yaml.Node, what string, scope *expr.Scope) []Pair {
	if n.Kind == yaml.ScalarNode {
		if scalar(n) == nil {
			return nil
		}
		if strings.Contains(n.Value, "${{") {
			p.report(n, "an expression for the whole of %s is not supported yet", what)
			return nil
		}
	}
	var out []Pair
	for _, e := range p.mapping(n, what) {
		out = append(out, Pair{e.key, p.text(e.value, what+" "+e.key, scope)})
	}
	return out
}

// boolean reads true, false or an expression.
func (p *parser) boolean(n *yaml.Node, what string, scope *expr.Scope) Text {
	t := p.text(n, what, scope)
	if n.Kind == yaml.ScalarNode && !isExpression(t.Value) {
		if _, ok := scalar(n).(bool); !ok {
			p.report(n, "%s must be true, false or an expression", what)
		}
	}
	return t
}

// number reads a number or an expression.
func (p *parser) number(n *yaml.Node, what string, scope *expr.Scope) Text {
	t := p.text(n, what, scope)
	if n.Kind == yaml.ScalarNode && !isExpression(t.Value) {
		if f, ok := scalar(n).(float64); !ok || f != f {
			p.report(n, "%s must be a number or an expression", what)
		}
	}
	return t
}

func isExpression(s string) bool {
	s = strings.TrimSpace(s)
	return strings.HasPrefix(s, "${{") && strings.HasSuffix(s, "}}")
}

// condition reads an `if`.
func (p *parser) condition(n *yaml.Node, scope expr.Scope) Text {
	if n.Kind != yaml.ScalarNode {
		p.report(n, "if must be an expression, not a %s", kind(n))
		return Text{}
	}
	t := Text{Value: expr.String(scalar(n)), Pos: pos(n)}
	c, err := ParseCondition(t.Value, scope)
	switch {
	case err != nil:
		p.report(n, "%s", err)
	case c.Mixed():
		p.warn(n, "this condition is always true: it is text around an expression; put the whole condition inside one ${{ }} or leave the braces out")
	}
	return t
}
