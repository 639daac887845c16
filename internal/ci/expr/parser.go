package expr

import (
	"strings"
)

// Function describes a function besides the built-in ones.
type Function struct{ Min, Max int }

// Scope is what names mean to the parser. Names are compared without case.
type Scope struct {
	Values    []string
	Functions map[string]Function // by lower-case name
}

// Expr is a parsed expression. It may be evaluated any number of times, from
// any goroutine.
type Expr struct {
	text string
	root node
}

// Parse parses text. An error is an [*Error].
func Parse(text string, scope Scope) (*Expr, error) {
	if len(text) > maxLength {
		return nil, &Error{Stage: Parsing, Message: "Exceeded max expression length 21000", Offset: -1, Text: text[:100] + "…"}
	}
	p := &parser{lex: lexer{text: text}, scope: scope}
	root, err := p.parse()
	if err != nil {
		return nil, err
	}
	if depth(root) > maxDepth {
		return nil, &Error{Stage: Parsing, Message: "Exceeded max expression depth 50", Offset: -1, Text: text}
	}
	return &Expr{text: text, root: root}, nil
}

type node interface{}

type (
	literal struct{ value Value }
	named   struct{ name string }
	call    struct {
		name string
		args []node
	}
	index struct {
		of, by node // by is wildcard{} for .* and [*]
	}
	wildcard struct{}
	not      struct{ of node }
	logical  struct {
		and   bool
		terms []node
	}
	compare struct {
		op   string
		a, b node
	}
	group struct{ of node } // only while parsing: keeps (a && b) && c apart
)

type parser struct {
	lex   lexer
	scope Scope
	tok   token
	prev  token
	deep  int
	err   *Error // the first fault
}

// advance moves to the next token. After the first fault every token is the
// end, so that the descent unwinds by itself.
func (p *parser) advance() {
	p.prev = p.tok
	if p.err != nil {
		return
	}
	t, err := p.lex.next()
	if err != nil {
		p.stop(err)
		return
	}
	p.tok = t
}

func (p *parser) stop(err *Error) {
	if p.err == nil {
		p.err = err
	}
	p.tok = token{kind: tokEnd}
}

func (p *parser) fail(message string, t token) {
	p.stop(&Error{Stage: Parsing, Message: message + ": '" + t.raw + "'", Offset: t.offset, Text: p.lex.text})
}

// unexpected fails at the current token.
func (p *parser) unexpected() {
	if p.tok.kind == tokEnd {
		p.fail("Unexpected end of expression", p.prev)
		return
	}
	p.fail("Unexpected symbol", p.tok)
}

func (p *parser) parse() (node, *Error) {
	p.advance()
	if p.tok.kind == tokEnd {
		return literal{nil}, p.err
	}
	n := p.or()
	if p.tok.kind != tokEnd {
		p.unexpected()
	}
	return ungroup(n), p.err
}

func (p *parser) isOp(ops ...string) bool {
	if p.tok.kind != tokOperator {
		return false
	}
	for _, op := range ops {
		if p.tok.raw == op {
			return true
		}
	}
	return false
}

func (p *parser) or() node  { return p.logical(false, "||", p.and) }
func (p *parser) and() node { return p.logical(true, "&&", p.equality) }

func (p *parser) logical(and bool, op string, term func() node) node {
	n := term()
	if !p.isOp(op) {
		return n
	}
	terms := []node{ungroup(n)}
	for p.isOp(op) {
		p.advance()
		terms = append(terms, ungroup(term()))
	}
	return logical{and, terms}
}

func (p *parser) equality() node { return p.binary(p.relation, "==", "!=") }
func (p *parser) relation() node { return p.binary(p.unary, "<", "<=", ">", ">=") }

func (p *parser) binary(term func() node, ops ...string) node {
	n := term()
	for p.isOp(ops...) {
		op := p.tok.raw
		p.advance()
		n = compare{op, ungroup(n), ungroup(term())}
	}
	return n
}

func (p *parser) unary() node {
	if !p.isOp("!") {
		return p.postfix()
	}
	p.enter()
	defer p.leave()
	p.advance()
	return not{ungroup(p.unary())}
}

// enter bounds the recursion itself; the exact limit is checked on the tree.
func (p *parser) enter() {
	if p.deep++; p.deep > 4*maxDepth {
		p.stop(&Error{Stage: Parsing, Message: "Exceeded max expression depth 50", Offset: -1, Text: p.lex.text})
	}
}

func (p *parser) leave() { p.deep-- }

func (p *parser) postfix() node {
	n := p.primary()
	for {
		switch p.tok.kind {
		case tokDot:
			p.advance()
			switch p.tok.kind {
			case tokProperty:
				n = index{ungroup(n), literal{p.tok.raw}}
			case tokWildcard:
				n = index{ungroup(n), wildcard{}}
			default:
				p.unexpected()
			}
			p.advance()
		case tokIndexOpen:
			p.enter()
			p.advance()
			if p.tok.kind == tokWildcard {
				p.advance()
				n = index{ungroup(n), wildcard{}}
			} else {
				n = index{ungroup(n), ungroup(p.or())}
			}
			p.expect(tokIndexClose)
			p.leave()
		default:
			return n
		}
	}
}

func (p *parser) expect(kind tokenKind) {
	if p.tok.kind != kind {
		p.unexpected()
	}
	p.advance()
}

func (p *parser) primary() node {
	t := p.tok
	switch t.kind {
	case tokNull, tokBool, tokNumber, tokString:
		p.advance()
		return literal{t.value}
	case tokName:
		if !p.knows(t.raw) {
			p.fail("Unrecognized named-value", t)
			return literal{}
		}
		p.advance()
		return named{strings.ToLower(t.raw)}
	case tokFunction:
		return p.call()
	case tokGroupOpen:
		p.enter()
		defer p.leave()
		p.advance()
		n := p.or()
		p.expect(tokGroupClose)
		return group{ungroup(n)}
	}
	p.unexpected()
	return literal{}
}

func (p *parser) call() node {
	p.enter()
	defer p.leave()
	t := p.tok
	name := strings.ToLower(t.raw)
	f, ok := builtins[name]
	if !ok {
		if f.Function, ok = p.scope.Functions[name]; !ok {
			p.fail("Unrecognized function", t)
			return literal{}
		}
	}
	p.advance() // the name
	p.advance() // the parenthesis, which made it a function
	var args []node
	if p.tok.kind != tokGroupClose {
		args = append(args, ungroup(p.or()))
		for p.tok.kind == tokComma {
			p.advance()
			args = append(args, ungroup(p.or()))
		}
	}
	p.expect(tokGroupClose)
	switch {
	case p.err != nil:
	case len(args) < f.Min:
		p.fail("Too few parameters supplied", t)
	case len(args) > f.Max:
		p.fail("Too many parameters supplied", t)
	case name == "case" && len(args)%2 == 0:
		p.fail("Even number of parameters supplied, requires an odd number of parameters", t)
	}
	return call{name, args}
}

func (p *parser) knows(name string) bool {
	for _, v := range p.scope.Values {
		if strings.EqualFold(v, name) {
			return true
		}
	}
	return false
}

func ungroup(n node) node {
	if g, ok := n.(group); ok {
		return g.of
	}
	return n
}

func children(n node) []node {
	switch n := n.(type) {
	case call:
		return n.args
	case index:
		return []node{n.of, n.by}
	case not:
		return []node{n.of}
	case logical:
		return n.terms
	case compare:
		return []node{n.a, n.b}
	}
	return nil
}

func depth(n node) int {
	deepest := 0
	for _, c := range children(n) {
		deepest = max(deepest, depth(c))
	}
	return deepest + 1
}

// Calls tells whether the expression calls any of the functions, given in
// lower case.
func (e *Expr) Calls(functions ...string) bool { return calls(e.root, functions) }

func calls(n node, functions []string) bool {
	if c, ok := n.(call); ok {
		for _, f := range functions {
			if c.name == f {
				return true
			}
		}
	}
	for _, c := range children(n) {
		if calls(c, functions) {
			return true
		}
	}
	return false
}

// String returns the source.
func (e *Expr) String() string { return e.text }
