// Package expr is the ${{ }} language of workflow files: a lexer, a parser with
// positions and an evaluator with GitHub's coercions. It is pure: what names
// mean, which functions exist besides the built-in ones and how much memory an
// evaluation may use are given by the caller.
//
// Its oracle is the expression corpus that GitHub runs against its own parsers
// (testdata, MIT, see LICENSE there).
package expr

import (
	"fmt"
	"unicode/utf16"
)

// Limits of the language.
const (
	maxLength = 21_000
	maxDepth  = 50
	// DefaultMemory bounds the bytes an evaluation may hold when the caller
	// names no other bound.
	DefaultMemory = 1 << 20
)

// Stage says which part of the engine found an error.
type Stage string

// The stages.
const (
	Lexing     Stage = "lexing"
	Parsing    Stage = "parsing"
	Evaluation Stage = "evaluation"
)

// Error is what is wrong with an expression.
type Error struct {
	Stage   Stage
	Message string // without position: "Unexpected symbol: ')'"
	Offset  int    // byte offset in Text, -1 when the error has no one place
	Text    string // the whole expression
}

// Error gives the message as GitHub words it.
func (e *Error) Error() string {
	if e.Offset < 0 {
		return fmt.Sprintf("%s. Located within expression: %s", e.Message, e.Text)
	}
	position := len(utf16.Encode([]rune(e.Text[:e.Offset]))) + 1
	return fmt.Sprintf("%s. Located at position %d within expression: %s", e.Message, position, e.Text)
}
