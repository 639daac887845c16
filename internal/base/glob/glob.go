// Package glob matches names against the patterns that the Argo kinds use:
// "*" (any text), "?" (one character), "[a-z]", "[!a-z]" and "{a,b}". Where a
// separator is given, "*" and "?" stop at it and "**" does not.
package glob

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// maxPattern bounds a pattern, so that nobody can make matching expensive.
const maxPattern = 4096

// Pattern is a compiled pattern.
type Pattern struct{ re *regexp.Regexp }

// Match says whether the whole of s matches.
func (p Pattern) Match(s string) bool { return p.re != nil && p.re.MatchString(s) }

// Compile reads a pattern. separator may be 0: then "*" matches everything.
func Compile(pattern string, separator rune) (Pattern, error) {
	if len(pattern) > maxPattern {
		return Pattern{}, fmt.Errorf("pattern is longer than %d bytes", maxPattern)
	}
	expr, err := translate([]rune(pattern), separator)
	if err != nil {
		return Pattern{}, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return Pattern{}, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	return Pattern{re}, nil
}

// Match compiles and matches in one; a pattern that does not compile matches
// nothing but itself.
func Match(pattern, s string, separator rune) bool {
	if pattern == s {
		return true
	}
	p, err := Compile(pattern, separator)
	return err == nil && p.Match(s)
}

func translate(p []rune, separator rune) (string, error) {
	one, many := ".", ".*"
	if separator != 0 {
		not := "[^" + regexp.QuoteMeta(string(separator)) + "]"
		one, many = not, not+"*"
	}
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	depth := 0
	for i := 0; i < len(p); i++ {
		switch r := p[i]; r {
		case '*':
			if i+1 < len(p) && p[i+1] == '*' {
				i++
				b.WriteString(".*")
				break
			}
			b.WriteString(many)
		case '?':
			b.WriteString(one)
		case '[':
			end, class, err := class(p[i:])
			if err != nil {
				return "", err
			}
			b.WriteString(class)
			i += end
		case '{':
			depth++
			b.WriteString("(?:")
		case '}':
			if depth == 0 {
				return "", errors.New("} without {")
			}
			depth--
			b.WriteByte(')')
		case ',':
			if depth > 0 {
				b.WriteByte('|')
				break
			}
			b.WriteByte(',')
		case '\\':
			if i+1 == len(p) {
				return "", errors.New("ends in a backslash")
			}
			i++
			b.WriteString(regexp.QuoteMeta(string(p[i])))
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	if depth != 0 {
		return "", errors.New("{ without }")
	}
	b.WriteString(`\z`)
	return b.String(), nil
}

// class translates "[...]" at the start of p and returns the index of its end.
func class(p []rune) (end int, expr string, err error) {
	var b strings.Builder
	b.WriteByte('[')
	i := 1
	if i < len(p) && (p[i] == '!' || p[i] == '^') {
		b.WriteByte('^')
		i++
	}
	start := i
	for ; i < len(p); i++ {
		switch r := p[i]; {
		case r == ']' && i > start:
			b.WriteByte(']')
			return i, b.String(), nil
		case r == '-':
			b.WriteByte('-')
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	return 0, "", errors.New("[ without ]")
}
