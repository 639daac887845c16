package problem_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

func TestExitCode(t *testing.T) {
	wrapped := func(err error) error { return fmt.Errorf("create: %w", err) }
	for _, tc := range []struct {
		err  error
		want int
	}{
		{nil, problem.ExitOK},
		{errors.New("x"), problem.ExitFailed},
		{wrapped(problem.ErrNegative), problem.ExitNegative},
		{wrapped(problem.ErrUsage), problem.ExitUsage},
		{wrapped(problem.ErrInvalid), problem.ExitUsage},
		{wrapped(problem.ErrForbidden), problem.ExitAuth},
		{wrapped(problem.ErrUnauthenticated), problem.ExitAuth},
		{wrapped(problem.ErrNotFound), problem.ExitNotFound},
		{wrapped(problem.ErrTimeout), problem.ExitTimeout},
		{&problem.Error{Op: "x", Code: problem.ExitInterrupted}, problem.ExitInterrupted},
		{&problem.Error{Op: "x", Err: problem.ErrNotFound}, problem.ExitNotFound},
	} {
		if got := problem.ExitCode(tc.err); got != tc.want {
			t.Errorf("ExitCode(%v) = %d, want %d", tc.err, got, tc.want)
		}
	}
}

func TestPrintShowsCauseAndHint(t *testing.T) {
	var b strings.Builder
	problem.Print(&b, fmt.Errorf("outer: %w", &problem.Error{
		Op: "create repository", Subject: "demo/shop", Err: problem.ErrExists,
		Hint: "penstock repo list",
	}))
	want := "error: outer: create repository demo/shop: already exists\nhint: penstock repo list\n"
	if b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}
