//go:build !linux

package git

import "os/exec"

// startLimited starts cmd. Only Linux can bound the memory of another process.
func startLimited(cmd *exec.Cmd) error { return cmd.Start() }
