//go:build linux

package sandbox

import "testing"

func BenchmarkPlanBaseLayer(b *testing.B) {
	for range b.N {
		l, err := planBaseLayer("/", nil)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(l)), "entries")
	}
}
