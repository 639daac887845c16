//go:build bench && linux

package sandbox

import (
	"context"
	"fmt"
	"os"
	osexec "os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/host/exec"
	"github.com/penstock-dev/penstock/internal/host/exec/process"
	"github.com/penstock-dev/penstock/internal/host/exec/sandbox"
)

// BenchmarkSession opens and closes a session in which nothing runs. "sandbox,
// new process" makes a runtime for each, as the runner of a job does. With a
// spare, what was opened before somebody asked for it is not measured, but for
// what the processor did.
func BenchmarkSession(b *testing.B) {
	b.Run("process", func(b *testing.B) {
		rt := process.New(nil)
		measure(b, func(i int) { session(b, rt, i) })
	})
	b.Run("sandbox", func(b *testing.B) {
		rt := sandboxes(b, b.TempDir())
		measure(b, func(i int) { session(b, rt, i) })
	})
	b.Run("sandbox, new process", func(b *testing.B) {
		dir := b.TempDir()
		sandboxes(b, dir) // for the sweep at the end
		measure(b, func(i int) {
			rt, err := sandbox.New(sandbox.Options{Dir: dir})
			if err != nil {
				b.Fatal(err)
			}
			session(b, rt, i)
			if err := rt.Close(); err != nil {
				b.Fatal(err)
			}
		})
	})
	b.Run("sandbox, spare", func(b *testing.B) {
		dir := b.TempDir()
		sandboxes(b, dir) // for the sweep at the end
		var opening []time.Duration
		measureAfter(b, func(i int) func() {
			rt, err := sandbox.New(sandbox.Options{Dir: dir})
			if err != nil {
				b.Fatal(err)
			}
			if err := rt.Warm(b.Context()); err != nil {
				b.Fatal(err)
			}
			return func() {
				began := time.Now()
				s := open(b, rt, i)
				opening = append(opening, time.Since(began))
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				if err := rt.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.ReportMetric(float64(slices.Min(opening).Microseconds())/1000, "best-ms/open")
	})
}

func session(b *testing.B, rt exec.Runtime, i int) {
	b.Helper()
	if s := open(b, rt, i); s != nil {
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func open(b *testing.B, rt exec.Runtime, i int) exec.Session {
	b.Helper()
	s, err := rt.Open(b.Context(), exec.SessionSpec{ID: fmt.Sprintf("bench-%d-%d", os.Getpid(), i+1), Workspace: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkCommand runs a shell that does nothing.
func BenchmarkCommand(b *testing.B) {
	b.Run("os-exec", func(b *testing.B) {
		measure(b, func(int) {
			if err := osexec.Command("sh", "-c", ":").Run(); err != nil {
				b.Fatal(err)
			}
		})
	})
	for _, rt := range []exec.Runtime{process.New(nil), sandboxes(b, b.TempDir())} {
		b.Run(rt.Name(), func(b *testing.B) {
			s := open(b, rt, 0)
			defer s.Close()
			env := s.Env()
			measure(b, func(int) {
				if code, err := s.Run(b.Context(), exec.Command{Args: []string{"sh", "-c", ":"}, Env: env}); err != nil || code != 0 {
					b.Fatal(code, err)
				}
			})
		})
	}
}

// measure reports, beside the mean, the best and what the processor did.
func measure(b *testing.B, f func(i int)) {
	b.Helper()
	measureAfter(b, func(i int) func() { return func() { f(i) } })
}

// measureAfter does so with what prepare returns; the time it takes itself does
// not count.
func measureAfter(b *testing.B, prepare func(i int) func()) {
	b.Helper()
	prepare(-1)() // warm
	took := make([]time.Duration, b.N)
	before := cpu(b)
	b.ResetTimer()
	for i := range b.N {
		b.StopTimer()
		f := prepare(i)
		b.StartTimer()
		start := time.Now()
		f()
		took[i] = time.Since(start)
	}
	b.StopTimer()
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
	b.ReportMetric(float64(slices.Min(took).Microseconds())/1000, "best-ms/op")
}

// cpu is what this process and those it has waited for have used. A sandbox's
// first process is waited for by nobody here and is not in it.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var sum time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}

func sandboxes(b *testing.B, dir string) *sandbox.Runtime {
	b.Helper()
	if os.Geteuid() != 0 {
		b.Skip("sandboxes need root")
	}
	rt, err := sandbox.New(sandbox.Options{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if _, err := rt.Sweep(context.Background()); err != nil {
			b.Error(err)
		}
		if err := rt.Close(); err != nil {
			b.Error(err)
		}
	})
	return rt
}
