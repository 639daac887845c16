// Package jobdir is the directory through which the server and a runner speak
// about one job. Both may die at any time: everything is in files.
//
//	job.json       what to do (server writes, before the runner starts)
//	secrets.json   token and secrets, 0600; the runner deletes it once read
//	journal.jsonl  what happened, one entry a line (runner appends, server tails)
//	logs/<n>.log   output of step n, masked, a log of package logstore
//	logs/<n>.summary.md  what step n wrote into its summary, masked
//	lock           held (flock) as long as the runner lives
//	cancel         exists once cancellation is requested (server creates)
//	runner.log     what the runner process itself has to say
//	work/ temp/ home/ private/  the job's own directories, removed at its end
//
// The lock is taken by the server and inherited by the runner, so there is no
// moment at which a started runner looks dead.
package jobdir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/penstock-dev/penstock/internal/base/atomicfile"
	"github.com/penstock-dev/penstock/internal/base/filelock"
	"github.com/penstock-dev/penstock/internal/ci/workflow"
)

// Dir is a job's directory, an absolute path.
type Dir string

// Journal is the path of the journal.
func (d Dir) Journal() string { return filepath.Join(string(d), "journal.jsonl") }

// Work is the directory with the workspace.
func (d Dir) Work() string { return filepath.Join(string(d), "work") }

// Temp is the job's temporary directory, RUNNER_TEMP.
func (d Dir) Temp() string { return filepath.Join(string(d), "temp") }

// Home is the home of the job's commands.
func (d Dir) Home() string { return filepath.Join(string(d), "home") }

// Private is a directory of the runner that the job's commands do not see.
func (d Dir) Private() string { return filepath.Join(string(d), "private") }

// RunnerLog is what the runner process prints.
func (d Dir) RunnerLog() string { return filepath.Join(string(d), "runner.log") }

// Log is the log of step n.
func (d Dir) Log(n int) string { return filepath.Join(string(d), "logs", strconv.Itoa(n)+".log") }

// Summary is what step n wrote into its summary.
func (d Dir) Summary(n int) string {
	return filepath.Join(string(d), "logs", strconv.Itoa(n)+".summary.md")
}

func (d Dir) cancel() string     { return filepath.Join(string(d), "cancel") }
func (d Dir) lock() string       { return filepath.Join(string(d), "lock") }
func (d Dir) spec() string       { return filepath.Join(string(d), "job.json") }
func (d Dir) secretFile() string { return filepath.Join(string(d), "secrets.json") }

// Spec is what a runner needs to know to run a job.
type Spec struct {
	JobID          string            `json:"jobId"` // unique on this server: "12-build"
	Name           string            `json:"name"`
	Repo           string            `json:"repo"` // owner/name
	Job            *workflow.Job     `json:"job"`
	WorkflowEnv    []workflow.Pair   `json:"workflowEnv,omitempty"`
	Defaults       workflow.Defaults `json:"defaults"` // of the workflow
	TimeoutMinutes float64           `json:"timeoutMinutes"`
	ServerURL      string            `json:"serverUrl"` // "http://penstock.localhost:7080"
	GitHub         json.RawMessage   `json:"github"`    // the github context, without the token
	Needs          json.RawMessage   `json:"needs"`
	Vars           json.RawMessage   `json:"vars"`
	Inputs         json.RawMessage   `json:"inputs"`
	Trace          string            `json:"trace,omitempty"` // W3C traceparent of the job's span; "" without traces
}

// Secrets of a job. They are never part of Spec, of arguments or of logs.
type Secrets struct {
	Token  string            `json:"token"`
	Values map[string]string `json:"values,omitempty"`
}

// maxSpec bounds the files read here.
const maxSpec = 32 << 20

// Prepare creates the directory with everything a runner reads. A directory
// that is there from an earlier attempt to start the job is brought into the
// same state.
func (d Dir) Prepare(spec Spec, secrets Secrets) error {
	if err := os.MkdirAll(filepath.Join(string(d), "logs"), 0o700); err != nil {
		return err
	}
	for _, dir := range []string{d.Work(), d.Temp(), d.Home()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	for _, f := range []struct {
		path string
		v    any
	}{{d.secretFile(), secrets}, {d.spec(), spec}} {
		b, err := json.Marshal(f.v)
		if err != nil {
			return fmt.Errorf("encode %s: %w", filepath.Base(f.path), err)
		}
		if err := atomicfile.Write(f.path, b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Load reads the job and its secrets, which it removes from the disk.
func (d Dir) Load() (spec Spec, secrets Secrets, err error) {
	if err := readJSON(d.spec(), &spec); err != nil {
		return spec, secrets, fmt.Errorf("read job: %w", err)
	}
	if err := readJSON(d.secretFile(), &secrets); err != nil {
		return spec, secrets, fmt.Errorf("read secrets of the job: %w", err)
	}
	return spec, secrets, os.Remove(d.secretFile())
}

func readJSON(path string, v any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return json.NewDecoder(io.LimitReader(f, maxSpec)).Decode(v)
}

// ErrLocked says that a runner lives.
var ErrLocked = errors.New("a runner holds the job")

// Lock takes the lock. The file is to be inherited by the runner, or closed.
// Its error wraps [ErrLocked] while a runner lives.
func (d Dir) Lock() (*os.File, error) {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(d.lock(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := filelock.Try(f, filelock.Exclusive); err != nil {
		f.Close()
		if errors.Is(err, filelock.ErrLocked) {
			return nil, ErrLocked
		}
		return nil, fmt.Errorf("lock job: %w", err)
	}
	return f, nil
}

// Alive tells whether a runner holds the lock.
func (d Dir) Alive() (bool, error) {
	f, err := os.Open(d.lock())
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	err = filelock.Try(f, filelock.Shared)
	if errors.Is(err, filelock.ErrLocked) {
		return true, nil
	}
	return false, err
}

// Claim writes into the inherited lock whose it is.
func Claim(lock *os.File) error {
	if err := lock.Truncate(0); err != nil {
		return err
	}
	_, err := lock.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0)
	return err
}

// Signal sends a signal to the runner, if one lives.
func (d Dir) Signal(signal syscall.Signal) error {
	b, err := os.ReadFile(d.lock())
	if err != nil {
		return err
	}
	// The number is the runner's own as long as the lock is held.
	if alive, err := d.Alive(); err != nil || !alive {
		return err
	}
	pid, err := strconv.Atoi(string(b))
	if err != nil || pid < 2 {
		return fmt.Errorf("runner of %s has not said which process it is", filepath.Base(string(d)))
	}
	// A Unix process can always be found; elsewhere only the kill exists.
	p, err := os.FindProcess(pid)
	if err == nil {
		err = p.Signal(signal)
	}
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal runner of %s: %w", filepath.Base(string(d)), err)
	}
	return nil
}

// Cancel asks the runner to cancel the job.
func (d Dir) Cancel() error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(d.cancel(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// CancelRequested tells whether cancellation was requested.
func (d Dir) CancelRequested() bool {
	_, err := os.Lstat(d.cancel())
	return err == nil
}

// Clean removes what only the running job needed; journal and logs stay.
func (d Dir) Clean() error {
	return errors.Join(os.RemoveAll(d.Work()), os.RemoveAll(d.Temp()), os.RemoveAll(d.Home()), os.RemoveAll(d.Private()), os.RemoveAll(d.secretFile()))
}
