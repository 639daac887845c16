// Package failpoint lets a test kill this process at a named place, to show
// that a crash there loses nothing and does nothing twice.
//
// A point stands directly before or after a durable write. The environment
// variable PENSTOCK_FAILPOINT names the one that kills: "git.record.before",
// or "git.record.before:3" for the third time it is passed. Every point is
// listed in points.tsv with what it stands for; a test keeps list and code the
// same.
package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// Env is the environment variable that arms a point.
const Env = "PENSTOCK_FAILPOINT"

// armed is read once: a process is armed by whoever starts it or not at all.
var armed = sync.OnceValue(func() point { return parse(os.Getenv(Env)) })

// passed counts how often the armed point was hit.
var passed atomic.Int64

type point struct {
	name string
	nth  int64
}

// Hit kills the process, as SIGKILL does, when the point called name is armed
// and this is its turn. Otherwise it does nothing.
func Hit(name string) {
	p := armed()
	if p.name == "" || p.name != name || passed.Add(1) != p.nth {
		return
	}
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		_ = self.Kill()
	}
	select {} // nothing may run after the point, even if the signal is late
}

// parse reads the variable's value. A count that is none means the first time.
func parse(v string) point {
	name, nth, _ := strings.Cut(v, ":")
	n, err := strconv.ParseInt(nth, 10, 64)
	if err != nil || n < 1 {
		n = 1
	}
	return point{name, n}
}
