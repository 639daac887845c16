package logstore

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/base/redact"
)

// BenchmarkWrite writes 100,000 lines, as a log and as the plain file of
// masked lines with a time that a log was before. "cpu-ms/op" is what counts.
func BenchmarkWrite(b *testing.B) {
	const n = 100_000
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf("line %d of the build: compiling package number %d", i, i*7919%n)
	}
	m := redact.New()
	for i := range 5 {
		if err := m.Add(fmt.Sprintf("secret-%d-xxxxxxxxxxxx", i)); err != nil {
			b.Fatal(err)
		}
	}
	measure := func(b *testing.B, write func(path string)) {
		path := filepath.Join(b.TempDir(), "log")
		before := cpu(b)
		for b.Loop() {
			os.Remove(path)
			write(path)
		}
		b.ReportMetric(float64((cpu(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
		fi, err := os.Stat(path)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(fi.Size())/n, "bytes/line")
	}
	b.Run("log", func(b *testing.B) {
		measure(b, func(path string) {
			w := create(b, path, Options{Mask: m})
			for _, l := range lines {
				w.Print(l)
			}
			shut(b, w)
		})
	})
	b.Run("plain", func(b *testing.B) {
		measure(b, func(path string) {
			f, err := os.Create(path)
			if err != nil {
				b.Fatal(err)
			}
			var buf []byte
			for _, l := range lines {
				buf = time.Now().UTC().AppendFormat(buf[:0], rowTime)
				buf = append(append(append(buf, ' '), m.Mask(l)...), '\n')
				if _, err := f.Write(buf); err != nil {
					b.Fatal(err)
				}
			}
			shut(b, f)
		})
	})
}

// cpu is what this process has used of the processors.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
