//go:build bench && linux

package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func BenchmarkGateway(b *testing.B) {
	bin := os.Getenv("PENSTOCK_BIN")
	if bin == "" {
		b.Skip("PENSTOCK_BIN does not name the directory of the binaries")
	}
	for b.Loop() {
		r, err := compare(b.Context(), options{penstock: filepath.Join(bin, "penstock"), rounds: 3, duration: 3 * time.Second, connections: 32})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(r["gateway"].rps, "req/s")
		b.ReportMetric(r["gateway"].cpu, "cpu-us/req")
		b.ReportMetric(r["gateway"].rps/r["haproxy"].rps, "of-haproxy")
	}
}
