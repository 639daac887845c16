package cli

import (
	"fmt"
	"os"
	"runtime/debug"
	"runtime/pprof"
	"sync"
)

// startProfile profiles this process until end is called.
func startProfile(path string) (end func(), err error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("write the profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("start the profile: %w", err)
	}
	return sync.OnceFunc(func() {
		pprof.StopCPUProfile()
		f.Close()
	}), nil
}

// Percentages of garbage to live memory at which Go collects. The start makes
// much of both, and collecting was a fifth of its time; after it memory counts.
const (
	startGC  = 400
	steadyGC = 75
)

// steady lets the start use memory for speed and returns what ends that. The
// environment variable GOGC has the last word.
func steady() (end func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	debug.SetGCPercent(startGC)
	return func() {
		debug.SetGCPercent(steadyGC)
		debug.FreeOSMemory()
	}
}
