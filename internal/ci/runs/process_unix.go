//go:build unix

package runs

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"github.com/penstock-dev/penstock/internal/ci/jobdir"
)

// ProcessRunner starts runners as processes of their own session, so that
// neither our end nor a signal to our group reaches them.
type ProcessRunner struct {
	Program string
	Args    []string // before "--job-dir DIR --lock-fd N"
	Env     []string // the whole environment; nil is ours
}

var _ Runner = ProcessRunner{}

// Start starts the runner of the job in dir. What it prints goes to the job's
// runner.log.
func (p ProcessRunner) Start(dir jobdir.Dir, lock *os.File) (wait func(), err error) {
	log, err := openRunnerLog(dir)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	const lockFD = 3 // the first of ExtraFiles
	cmd := exec.Command(p.Program, append(append([]string{}, p.Args...), "--job-dir", string(dir), "--lock-fd", strconv.Itoa(lockFD))...)
	cmd.Dir = string(dir)
	cmd.Env = p.Env
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", p.Program, err)
	}
	return func() { _ = cmd.Wait() }, nil // how it ended is in the journal
}

func openRunnerLog(dir jobdir.Dir) (*os.File, error) {
	return os.OpenFile(dir.RunnerLog(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
}
