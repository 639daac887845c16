// Command penstock is everything between a commit and production: the command
// line, the server, the gateway and the runner.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/penstock-dev/penstock/internal/app"
	"github.com/penstock-dev/penstock/internal/host/process"
)

func main() {
	process.Launch(os.Args)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(app.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
