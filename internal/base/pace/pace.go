// Package pace says how slow a client may be with a transfer. A fixed timeout
// would end large ones; without any, a few silent clients would hold what
// serves them.
package pace

import "time"

// Pace is the least that a transfer has to keep up.
type Pace struct {
	Idle  time.Duration // longest pause
	Grace time.Duration // time before the rate counts
	Rate  int64         // bytes per second, on average after Grace
}

// Default is what clients of the Git host and of the registry have to keep up.
var Default = Pace{Idle: 60 * time.Second, Grace: 2 * time.Minute, Rate: 1 << 10}

// Deadline is when a transfer that began at start and has moved n bytes must
// have moved more.
func (p Pace) Deadline(start, now time.Time, n int64) time.Time {
	idle := now.Add(p.Idle)
	average := start.Add(p.Grace + time.Duration(float64(n)/float64(p.Rate)*float64(time.Second)))
	if average.Before(idle) {
		return average
	}
	return idle
}
