// Package app is the composition: it builds the rooms, connects them, starts
// and stops them in order. It is the only package that imports the world.
package app

import (
	"context"
	"io"

	"github.com/penstock-dev/penstock/internal/face/cli"
)

// Main runs the command line args and returns the exit code.
func Main(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) int {
	return cli.Main(ctx, args, in, out, errw, newServer, newRunner, newRenderWorker, cli.NewDown(stopJobs), cli.Build(openBuilder))
}
