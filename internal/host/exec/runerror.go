package exec

import (
	"context"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// RunError is how every runtime tells why cmd could not be run. The end of ctx
// speaks for itself and stays as it is.
func RunError(ctx context.Context, cmd Command, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	subject := ""
	if len(cmd.Args) > 0 {
		subject = cmd.Args[0]
	}
	return &problem.Error{Op: "run", Subject: subject, Err: err}
}
