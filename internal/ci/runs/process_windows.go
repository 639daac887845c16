package runs

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/ci/jobdir"
)

// ProcessRunner cannot start runners here.
type ProcessRunner struct {
	Program string
	Args    []string
	Env     []string
}

var _ Runner = ProcessRunner{}

// Start says that jobs need another system.
func (ProcessRunner) Start(jobdir.Dir, *os.File) (wait func(), err error) {
	return nil, &problem.Error{
		Op: "start the runner of a job", Err: errors.New("CI jobs do not run on windows"),
		Hint: "run the server on Linux; every other command can use it from here",
	}
}

// StandbyRunner is a ProcessRunner.
type StandbyRunner struct {
	ProcessRunner
	Sweep func(ctx context.Context) error
}

// NewStandbyRunner returns p.
func NewStandbyRunner(p ProcessRunner, _ *slog.Logger) *StandbyRunner {
	return &StandbyRunner{ProcessRunner: p}
}

// Run has nothing to do.
func (*StandbyRunner) Run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}
