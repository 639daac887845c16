//go:build linux

package sandbox

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// onOwnThread runs f on a thread that may be changed in ways that cannot be
// undone (another namespace): no other goroutine ever runs on it. It is never
// the process's first thread, which lives as long as the process and is what
// /proc/self means.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// Keep this thread busy, so that the next goroutine gets another.
			done <- onOwnThread(f)
			runtime.UnlockOSThread()
			return
		}
		// Never unlocked: the thread ends with the goroutine.
		done <- f()
	}()
	return <-done
}
