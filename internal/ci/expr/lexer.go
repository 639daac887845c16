package expr

import (
	"strings"
)

type tokenKind int

const (
	tokEnd tokenKind = iota
	tokGroupOpen
	tokGroupClose
	tokIndexOpen
	tokIndexClose
	tokComma
	tokWildcard
	tokDot
	tokOperator // ! != > < >= <= == && ||
	tokNull
	tokBool
	tokNumber
	tokString
	tokProperty // a name after a dot
	tokName     // a named value
	tokFunction // a name before an opening parenthesis
)

type token struct {
	kind   tokenKind
	raw    string
	offset int
	value  Value // of literals
}

// lexer hands out tokens one by one, so that the first fault from the left is
// the one reported, whichever stage it belongs to.
type lexer struct {
	text string
	pos  int
	last tokenKind // tokEnd before the first token
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// isBoundary tells the bytes that end a name, a number or a broken operator.
func isBoundary(c byte) bool { return isSpace(c) || strings.IndexByte("([)],.!><=&|", c) >= 0 }

func (l *lexer) next() (token, *Error) {
	for l.pos < len(l.text) && isSpace(l.text[l.pos]) {
		l.pos++
	}
	if l.pos == len(l.text) {
		return token{kind: tokEnd, offset: l.pos}, nil
	}
	start := l.pos
	t, ok := l.scan()
	t.offset, t.raw = start, l.text[start:l.pos]
	if !ok {
		return t, &Error{Stage: Lexing, Message: "Unexpected symbol: '" + t.raw + "'", Offset: start, Text: l.text}
	}
	l.last = t.kind
	return t, nil
}

func (l *lexer) scan() (token, bool) {
	c := l.text[l.pos]
	if kind, ok := map[byte]tokenKind{
		'(': tokGroupOpen, ')': tokGroupClose, '[': tokIndexOpen, ']': tokIndexClose, ',': tokComma, '*': tokWildcard,
	}[c]; ok {
		l.pos++
		return token{kind: kind}, true
	}
	switch {
	case c == '\'':
		return l.scanString()
	case strings.IndexByte("!><=&|", c) >= 0:
		return l.scanOperator()
	case c == '.' && !l.numberMayFollow():
		l.pos++
		return token{kind: tokDot}, true
	case c == '.' || c == '-' || c == '+' || c >= '0' && c <= '9':
		return l.scanNumber()
	}
	return l.scanWord()
}

// numberMayFollow tells whether a dot begins a number here (".5") rather than
// naming a property.
func (l *lexer) numberMayFollow() bool {
	switch l.last {
	case tokEnd, tokComma, tokGroupOpen, tokIndexOpen, tokOperator:
		return true
	}
	return false
}

func (l *lexer) scanString() (token, bool) {
	var b strings.Builder
	for l.pos++; l.pos < len(l.text); l.pos++ {
		if l.text[l.pos] != '\'' {
			b.WriteByte(l.text[l.pos])
			continue
		}
		if l.pos+1 < len(l.text) && l.text[l.pos+1] == '\'' {
			b.WriteByte('\'')
			l.pos++
			continue
		}
		l.pos++
		return token{kind: tokString, value: b.String()}, true
	}
	return token{}, false
}

func (l *lexer) scanOperator() (token, bool) {
	rest := l.text[l.pos:]
	for _, op := range []string{"!=", ">=", "<=", "==", "&&", "||", "!", ">", "<"} {
		if strings.HasPrefix(rest, op) {
			l.pos += len(op)
			return token{kind: tokOperator}, true
		}
	}
	for l.pos++; l.pos < len(l.text) && !isBoundary(l.text[l.pos]); l.pos++ {
	}
	return token{}, false
}

func (l *lexer) scanNumber() (token, bool) {
	start := l.pos
	for l.pos < len(l.text) && (l.text[l.pos] == '.' || !isBoundary(l.text[l.pos])) {
		l.pos++
	}
	n := parseNumber(l.text[start:l.pos])
	if n != n {
		return token{}, false
	}
	return token{kind: tokNumber, value: n}, true
}

func (l *lexer) scanWord() (token, bool) {
	start := l.pos
	for l.pos < len(l.text) && !isBoundary(l.text[l.pos]) {
		l.pos++
	}
	word := l.text[start:l.pos]
	if !isName(word) {
		return token{}, false
	}
	if l.last == tokDot {
		return token{kind: tokProperty}, true
	}
	switch word {
	case "null":
		return token{kind: tokNull}, true
	case "true", "false":
		return token{kind: tokBool, value: word == "true"}, true
	case "NaN", "Infinity":
		return token{kind: tokNumber, value: parseNumber(word)}, true
	}
	after := l.pos
	for after < len(l.text) && isSpace(l.text[after]) {
		after++
	}
	if after < len(l.text) && l.text[after] == '(' {
		return token{kind: tokFunction}, true
	}
	return token{kind: tokName}, true
}

// isName tells whether s may name a property, value or function.
func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_':
		case i > 0 && (c >= '0' && c <= '9' || c == '-'):
		default:
			return false
		}
	}
	return s != ""
}
