//go:build linux

package sandbox_test

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/host/exec"
	"github.com/penstock-dev/penstock/internal/host/exec/process"
	"github.com/penstock-dev/penstock/internal/host/exec/sandbox"
)

// BenchmarkEmptySession opens and closes a session in which nothing runs.
func BenchmarkEmptySession(b *testing.B) {
	for _, rt := range runtimes(b) {
		b.Run(rt.Name(), func(b *testing.B) {
			ws := b.TempDir()
			before := cpu(b)
			defer func() { b.ReportMetric(float64((cpu(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op") }()
			for i := range b.N {
				s, err := rt.Open(b.Context(), exec.SessionSpec{ID: fmt.Sprintf("bench-%d-%d", os.Getpid(), i), Workspace: ws})
				if err != nil {
					b.Fatal(err)
				}
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCommand runs a shell that does nothing in an open session.
func BenchmarkCommand(b *testing.B) {
	for _, rt := range runtimes(b) {
		b.Run(rt.Name(), func(b *testing.B) {
			s, err := rt.Open(b.Context(), exec.SessionSpec{ID: fmt.Sprintf("bench-%d", os.Getpid()), Workspace: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			env := s.Env()
			b.ResetTimer()
			for range b.N {
				if code, err := s.Run(b.Context(), exec.Command{Args: []string{"sh", "-c", ":"}, Env: env}); err != nil || code != 0 {
					b.Fatal(code, err)
				}
			}
			b.StopTimer()
		})
	}
}

// cpu is what this process and those it has waited for have used. The agent is
// waited for by nobody here, so its start is not in it.
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

func runtimes(b *testing.B) []exec.Runtime {
	b.Helper()
	out := []exec.Runtime{process.New(nil)}
	if os.Geteuid() != 0 {
		return out
	}
	sb, err := sandbox.New(sandbox.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := sb.Close(); err != nil {
			b.Error(err)
		}
	})
	return append(out, sb)
}
