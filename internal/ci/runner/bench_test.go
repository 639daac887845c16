package runner_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock-dev/penstock/internal/ci/jobdir"
	"github.com/penstock-dev/penstock/internal/ci/runner"
)

// BenchmarkStep compares a step with the bare start of its shell, in turns, so
// that both see the same machine. "ms/overhead" is the difference; the budget
// is 2 ms.
func BenchmarkStep(b *testing.B) {
	const steps = 100
	script := filepath.Join(b.TempDir(), "s.sh")
	if err := os.WriteFile(script, []byte("true\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	var job, shell time.Duration
	n := 0
	for b.Loop() {
		dir := prepareSteps(b, strings.Repeat("      - run: 'true'\n", steps))
		if err := runner.Run(context.Background(), options(dir)); err != nil {
			b.Fatal(err)
		}
		entries, _, err := dir.ReadJournal(0)
		if err != nil {
			b.Fatal(err)
		}
		var first, last time.Time
		for _, e := range entries {
			if e.Type == jobdir.StepStarted && e.Step == 2 {
				first = e.At
			}
			if e.Type == jobdir.StepFinished && e.Step == steps+1 {
				last = e.At
			}
		}
		job += last.Sub(first)
		began := time.Now()
		for range steps {
			if err := exec.Command("bash", "-e", script).Run(); err != nil {
				b.Fatal(err)
			}
		}
		shell += time.Since(began)
		n += steps
	}
	ms := func(d time.Duration) float64 { return d.Seconds() * 1000 / float64(n) }
	b.ReportMetric(ms(job), "ms/step")
	b.ReportMetric(ms(shell), "ms/shell")
	b.ReportMetric(ms(job-shell), "ms/overhead")
}

// BenchmarkLog runs a step that prints 100,000 lines. "cpu-ms" is what the
// runner itself used for them; most of it is reading them for commands.
func BenchmarkLog(b *testing.B) {
	self := func() time.Duration {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := self()
	for b.Loop() {
		dir := prepareSteps(b, "      - run: seq -f 'line %.0f of the build, which compiles a package' 100000\n")
		if err := runner.Run(context.Background(), options(dir)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((self()-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
}

func prepareSteps(b *testing.B, steps string) jobdir.Dir {
	b.Helper()
	dir := prepare(b, job(steps))
	return dir
}
