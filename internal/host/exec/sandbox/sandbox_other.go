//go:build !linux

package sandbox

import (
	"context"
	"errors"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/exec"
)

var errLinux = errors.New("sandboxes need Linux")

// Runtime cannot exist here.
type Runtime struct{}

// New says that sandboxes need Linux.
func New(Options) (*Runtime, error) {
	return nil, &problem.Error{Op: "start sandboxes", Err: errLinux, Hint: "use the process runtime, which isolates nothing"}
}

// Name is "sandbox".
func (*Runtime) Name() string { return "sandbox" }

// Open says that sandboxes need Linux.
func (*Runtime) Open(context.Context, exec.SessionSpec) (exec.Session, error) { return nil, errLinux }

// Warm says that sandboxes need Linux.
func (*Runtime) Warm(context.Context) error { return errLinux }

// Sweep has nothing to remove.
func (*Runtime) Sweep(context.Context) (int, error) { return 0, nil }

// Close has nothing to close.
func (*Runtime) Close() error { return nil }

// Check says that sandboxes need Linux.
func Check(string) []Finding {
	return []Finding{{Name: "linux", Err: errLinux, Hint: "use the process runtime, which isolates nothing"}}
}
