//go:build !linux

package app

import (
	"context"
	"errors"
	"log/slog"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/exec"
)

// lazyContainer cannot run anything here.
type lazyContainer struct {
	dataDir, listen string
	image           string
	log             *slog.Logger
}

func (lazyContainer) Name() string { return "container" }

func (lazyContainer) Open(context.Context, exec.SessionSpec) (exec.Session, error) {
	return nil, &problem.Error{Op: "start containers", Err: errors.New("containers need Linux"), Hint: "use the process runtime, which isolates nothing"}
}

func pruneImages(context.Context, string, *slog.Logger) error { return nil }
