// Package process runs commands as the invoking user, on the machine itself,
// without any isolation. On Windows it does not exist yet and says so.
package process

import (
	"context"
	"errors"
	"log/slog"

	"github.com/penstock-dev/penstock/internal/base/problem"
	hostexec "github.com/penstock-dev/penstock/internal/host/exec"
)

// Runtime cannot open sessions here.
type Runtime struct{}

// New makes a runtime; log may be nil.
func New(*slog.Logger) *Runtime { return &Runtime{} }

// Name is "process".
func (*Runtime) Name() string { return "process" }

// Open says that it cannot.
func (*Runtime) Open(context.Context, hostexec.SessionSpec) (hostexec.Session, error) {
	return nil, &problem.Error{Op: "open session", Err: errors.New("commands cannot be run on Windows yet"), Hint: "use Penstock in the Windows Subsystem for Linux"}
}
