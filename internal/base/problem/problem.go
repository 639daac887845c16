// Package problem holds the one error type that people see. It says what was
// being done, to what, why it did not work, and what to do next.
//
// Packages return plain wrapped errors; the place that knows the user's
// operation turns one into an [Error]. The CLI prints it in two lines, the API
// answers with it as RFC 9457.
package problem

import (
	"errors"
	"fmt"
	"io"
)

// Error is an error for users.
type Error struct {
	Op      string // what was being done, in the imperative: "create repository"
	Subject string // what it was done to: "demo/shop"; may be empty
	Hint    string // what to do next, a command where there is one; may be empty
	Code    int    // exit code, one of the Exit constants; 0 means ExitFailed
	Err     error  // the cause
}

// Error gives operation, subject and cause on one line; the hint is separate.
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

// Exit codes of every penstock command. They are a stable contract.
const (
	ExitOK          = 0   // success
	ExitNegative    = 1   // the thing asked about failed: a run, a gate, a diff
	ExitUsage       = 2   // the command line is wrong
	ExitFailed      = 3   // our own failure or the infrastructure's
	ExitAuth        = 4   // not authenticated, or not allowed
	ExitNotFound    = 5   // the thing named does not exist
	ExitTimeout     = 6   // gave up waiting
	ExitInterrupted = 130 // interrupted by the user
)

// Sentinels that rooms wrap so that faces can choose a code without knowing
// the room.
var (
	ErrNotFound  = errors.New("not found")
	ErrExists    = errors.New("already exists")
	ErrInvalid   = errors.New("invalid")
	ErrForbidden = errors.New("not allowed")
	ErrTimeout   = errors.New("timed out")
	ErrUsage     = errors.New("usage")
	ErrNegative  = errors.New("failed") // the thing asked about failed

	// ErrUnauthenticated is the kind of ErrForbidden that other credentials
	// would cure: they are missing, unknown or expired.
	ErrUnauthenticated error = kind{"not authenticated", ErrForbidden}
)

// kind is a sentinel that is a special case of another.
type kind struct {
	msg string
	is  error
}

func (k kind) Error() string { return k.msg }
func (k kind) Unwrap() error { return k.is }

// ExitCode says with which code a command that ended in err leaves.
func ExitCode(err error) int {
	if err == nil {
		return ExitOK
	}
	var p *Error
	if errors.As(err, &p) && p.Code != 0 {
		return p.Code
	}
	for _, m := range []struct {
		is   error
		code int
	}{
		{ErrNegative, ExitNegative},
		{ErrUsage, ExitUsage},
		{ErrInvalid, ExitUsage},
		{ErrForbidden, ExitAuth},
		{ErrNotFound, ExitNotFound},
		{ErrTimeout, ExitTimeout},
	} {
		if errors.Is(err, m.is) {
			return m.code
		}
	}
	return ExitFailed
}

// Print writes err for a person: "error: ..." and, where there is one,
// "hint: ...".
func Print(w io.Writer, err error) {
	fmt.Fprintf(w, "error: %v\n", err)
	var p *Error
	if errors.As(err, &p) && p.Hint != "" {
		fmt.Fprintf(w, "hint: %s\n", p.Hint)
	}
}
