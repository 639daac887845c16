//go:build !linux

package git

import "os/exec"

// limitMemory does nothing: only Linux bounds what a program allocates.
func limitMemory(*exec.Cmd) {}
