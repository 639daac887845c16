package pace

import (
	"testing"
	"time"
)

func TestDeadline(t *testing.T) {
	p := Pace{Idle: time.Minute, Grace: 2 * time.Minute, Rate: 1000}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		after time.Duration
		n     int64
		want  time.Duration // after start
	}{
		{0, 0, time.Minute},               // a pause ends it
		{time.Minute, 0, 2 * time.Minute}, // the grace ends first
		{90 * time.Second, 0, 2 * time.Minute},
		{90 * time.Second, 100_000, 150 * time.Second},
		{10 * time.Minute, 60_000, 3 * time.Minute},
		{10 * time.Minute, 100_000, 2*time.Minute + 100*time.Second}, // too slow on average, long ago
		{10 * time.Minute, 10_000_000, 11 * time.Minute},             // fast enough
		{10 * time.Minute, 1_000_000_000, 11 * time.Minute},
	} {
		if got := p.Deadline(start, start.Add(tc.after), tc.n).Sub(start); got != tc.want {
			t.Errorf("after %s with %d bytes: %s, want %s", tc.after, tc.n, got, tc.want)
		}
	}
}
