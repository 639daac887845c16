package cli

import (
	"context"
	"fmt"
	"os/exec"
	"time"
)

// runSelf runs another command of this program, for what a person would type.
func runSelf(ctx context.Context, g *Globals, program string, args ...string) error {
	c := exec.CommandContext(ctx, program, args...)
	c.Stdout, c.Stderr = g.Err, g.Err
	c.WaitDelay = 10 * time.Second
	if err := c.Run(); err != nil {
		return fmt.Errorf("penstock %s: %w", args[0], err)
	}
	return nil
}
