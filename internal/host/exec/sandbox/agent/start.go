//go:build linux

package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/penstock-dev/penstock/internal/host/exec"
	"github.com/penstock-dev/penstock/internal/host/exec/sandbox/wire"
)

// start runs the command that the first file describes. It leads a session and
// process group of its own and begins its life inside the given control group,
// so there is no moment in which a descendant could escape it.
func start(files []*os.File) (pid int, err error) {
	if len(files) != wire.StartFiles {
		return 0, fmt.Errorf("start came with %d files, not %d", len(files), wire.StartFiles)
	}
	var spec wire.Spec
	if err := json.NewDecoder(files[0]).Decode(&spec); err != nil {
		return 0, fmt.Errorf("read command: %w", err)
	}
	if len(spec.Args) == 0 {
		return 0, errors.New("command has no arguments")
	}
	if fi, err := os.Stat(spec.Dir); err != nil {
		return 0, fmt.Errorf("working directory: %w", err)
	} else if !fi.IsDir() {
		return 0, fmt.Errorf("working directory: %s is not a directory", spec.Dir)
	}
	program, err := exec.LookPath(spec.Args[0], spec.Dir, spec.Env)
	if err != nil {
		return 0, err
	}
	sys := &syscall.SysProcAttr{
		Setsid:      true,
		UseCgroupFD: true,
		CgroupFD:    int(files[4].Fd()),
	}
	if spec.UID != 0 || spec.GID != 0 || len(spec.Groups) > 0 {
		sys.Credential = &syscall.Credential{Uid: spec.UID, Gid: spec.GID, Groups: spec.Groups}
	}
	pid, err = syscall.ForkExec(program, spec.Args, &syscall.ProcAttr{
		Dir: spec.Dir,
		Env: spec.Env,
		Files: []uintptr{
			files[1].Fd(), files[2].Fd(), files[3].Fd(),
		},
		Sys: sys,
	})
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", program, err)
	}
	return pid, nil
}
