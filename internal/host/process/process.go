// Package process keeps the processes that make up Penstock on one machine:
// it starts them detached, finds them again after its own death, and
// supervises them. It does so on Linux; elsewhere nothing is found and nothing
// starts.
//
// A started process is known by a record in the run directory: its pid and the
// moment the kernel started it, so that a reused pid is never taken for it.
// The record is written before the program runs (see [Launch]), so a crash at
// any point leaves either no process or a process with a record.
package process

import (
	"io"
	"path/filepath"
	"time"
)

// Spec says what to start.
type Spec struct {
	Name string   // names the record and the log: [a-z-]+
	Args []string // absolute program and arguments
	Env  []string // the whole environment
	// TakesOver says that the program, started where one runs already, takes
	// the work over from it, which then ends. So a running one of another
	// version, or with other arguments, is replaced instead of adopted.
	TakesOver bool
}

// Process is a running process with a record.
type Process struct {
	Name  string    `json:"name"`
	PID   int       `json:"pid"`
	Born  uint64    `json:"born"` // clock ticks after boot, field 22 of /proc/PID/stat
	Boot  string    `json:"boot"` // the kernel's boot id
	Args  []string  `json:"args"`
	Since time.Time `json:"since"`
}

// maxRecord bounds a record file.
const maxRecord = 64 << 10

func recordPath(runDir, name string) string { return filepath.Join(runDir, name+".pid") }

// LogPath is where a process started under name writes what it says.
func LogPath(runDir, name string) string { return filepath.Join(runDir, name+".log") }

func limit(r io.Reader) io.Reader { return io.LimitReader(r, maxRecord) }
