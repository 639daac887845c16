//go:build linux

package buildkit

import (
	"context"

	"github.com/moby/buildkit/executor"
	resourcestypes "github.com/moby/buildkit/executor/resources/types"
)

// countSteps counts the steps an executor has under way, so that a stop can
// wait until their containers and mounts are gone.
type countSteps struct {
	executor.Executor
	steps *stepCounter
}

func (c countSteps) Run(ctx context.Context, id string, rootfs executor.Mount, mounts []executor.Mount, process executor.ProcessInfo, started chan<- struct{}) (resourcestypes.Recorder, error) {
	c.steps.n.Add(1)
	defer c.steps.n.Add(-1)
	defer c.steps.ended()
	return c.Executor.Run(ctx, id, rootfs, mounts, process, started)
}
