package expr

import (
	"fmt"
	"strings"
)

// Template is text with expressions in it: "v${{ github.run_number }}".
type Template struct {
	text  string
	parts []part
}

// part is literal text or an expression.
type part struct {
	text string
	expr *Expr
}

// TemplateError is a fault in a template: where in the text, and what.
type TemplateError struct {
	Offset int // byte offset in the text: of the expression, or of its opening
	Err    error
}

func (e *TemplateError) Error() string { return e.Err.Error() }
func (e *TemplateError) Unwrap() error { return e.Err }

// ParseTemplate parses text. An error is a [*TemplateError].
func ParseTemplate(text string, scope Scope) (*Template, error) {
	t := &Template{text: text}
	for at := 0; at < len(text); {
		open := strings.Index(text[at:], "${{")
		if open < 0 {
			t.parts = append(t.parts, part{text: text[at:]})
			break
		}
		if open > 0 {
			t.parts = append(t.parts, part{text: text[at : at+open]})
		}
		at += open
		end := closing(text, at+3)
		if end < 0 {
			return nil, &TemplateError{at, fmt.Errorf("The expression is not closed. An unescaped ${{ sequence was found, but the closing }} sequence was not found.")} //nolint:staticcheck,revive // GitHub's words
		}
		if len(text) > maxLength {
			return nil, &TemplateError{0, fmt.Errorf("Exceeded max expression length %d", maxLength)} //nolint:staticcheck // GitHub's words
		}
		source := strings.TrimSpace(text[at+3 : end])
		if source == "" {
			return nil, &TemplateError{at, fmt.Errorf("An expression was expected")} //nolint:staticcheck // GitHub's words
		}
		e, err := Parse(source, scope)
		if err != nil {
			return nil, &TemplateError{at, err}
		}
		t.parts = append(t.parts, part{expr: e})
		at = end + 2
	}
	return t, nil
}

// closing returns the offset of the }} that ends the expression beginning at
// from, -1 when there is none. Braces inside strings do not count.
func closing(text string, from int) int {
	quoted := false
	for i := from; i < len(text); i++ {
		switch {
		case text[i] == '\'':
			quoted = !quoted
		case !quoted && strings.HasPrefix(text[i:], "}}"):
			return i
		}
	}
	return -1
}

// Single returns the expression when the template is exactly one.
func (t *Template) Single() (*Expr, bool) {
	if len(t.parts) == 1 && t.parts[0].expr != nil {
		return t.parts[0].expr, true
	}
	return nil, false
}

// Constant returns the text when there is no expression in it.
func (t *Template) Constant() (string, bool) {
	for _, p := range t.parts {
		if p.expr != nil {
			return "", false
		}
	}
	return t.text, true
}

// Evaluate gives the value of a single expression as it is, and everything
// else as text.
func (t *Template) Evaluate(env Env) (Value, error) {
	if e, ok := t.Single(); ok {
		return e.Evaluate(env)
	}
	if s, ok := t.Constant(); ok {
		return s, nil
	}
	limit := env.Memory
	if limit == 0 {
		limit = DefaultMemory
	}
	var b strings.Builder
	for _, p := range t.parts {
		if p.expr == nil {
			b.WriteString(p.text)
			continue
		}
		v, err := p.expr.Evaluate(env)
		if err != nil {
			return nil, err
		}
		b.WriteString(String(v))
		if 2*b.Len() > limit {
			return nil, &Error{Stage: Evaluation, Message: errMemory.Error(), Offset: -1, Text: t.text}
		}
	}
	return b.String(), nil
}

// String returns the source.
func (t *Template) String() string { return t.text }
