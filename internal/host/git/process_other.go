//go:build !unix

package git

import (
	"os"
	"os/exec"
)

// Repositories are hosted on Unix systems. Elsewhere the package only has to
// build: nothing there starts a server.

func ownGroup(*exec.Cmd) {}

func stopGroup(cmd *exec.Cmd) error { return cmd.Process.Kill() }

func tryLock(*os.File, bool) (bool, error) { return true, nil }
