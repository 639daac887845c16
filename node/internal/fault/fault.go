// Package fault holds the errors of penstock-node that people see: what was
// being done, to what, why it did not work and what to do next. The node is a
// module of its own, so it has its own small type; the words are printed the
// same way as those of the penstock command.
package fault

import (
	"errors"
	"fmt"
	"io"
)

// Error is an error for users.
type Error struct {
	Op      string // what was being done, in the imperative
	Subject string // what it was done to; may be empty
	Hint    string // what to do next; may be empty
	Err     error  // the cause
}

// Error gives operation, subject and cause; the hint is separate.
func (e *Error) Error() string {
	s := e.Op
	if e.Subject != "" {
		s += " " + e.Subject
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Exit codes, the same as those of the penstock command.
const (
	ExitOK     = 0
	ExitUsage  = 2
	ExitFailed = 3
	ExitAuth   = 4
)

// ErrUsage marks a mistake on the command line, ErrForbidden a lack of rights.
var (
	ErrUsage     = errors.New("usage")
	ErrForbidden = errors.New("not allowed")
)

// ExitCode says with which code a command that ended in err leaves.
func ExitCode(err error) int {
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, ErrUsage):
		return ExitUsage
	case errors.Is(err, ErrForbidden):
		return ExitAuth
	}
	return ExitFailed
}

// Hint returns the hint that err or one of its causes carries, or "".
func Hint(err error) string {
	var e *Error
	for errors.As(err, &e) {
		if e.Hint != "" {
			return e.Hint
		}
		err = e.Err
	}
	return ""
}

// Print writes err for a person: "error: ..." and, where there is one,
// "hint: ...".
func Print(w io.Writer, err error) {
	fmt.Fprintf(w, "error: %v\n", err)
	if h := Hint(err); h != "" {
		fmt.Fprintf(w, "hint: %s\n", h)
	}
}
