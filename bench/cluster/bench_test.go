//go:build bench && linux

package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

// BenchmarkCluster runs everything once, in the short form, and writes
// bench/results.
func BenchmarkCluster(b *testing.B) {
	bin := os.Getenv("PENSTOCK_BIN")
	if bin == "" || os.Geteuid() != 0 {
		b.Skip("needs root, and PENSTOCK_BIN to name the directory of the binaries")
	}
	for b.Loop() {
		r, err := measure(b.Context(), options{bin: bin, rounds: 3, idle: 30 * time.Second})
		if r != nil {
			r.print(os.Stdout)
			if serr := r.save("../results"); serr != nil {
				b.Error(serr)
			}
			for _, x := range r.Rows {
				b.ReportMetric(x.Best, strings.NewReplacer(" ", "-", ",", "", ":", "").Replace(x.What)+"-"+strings.ReplaceAll(x.Unit, " ", "-"))
			}
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
