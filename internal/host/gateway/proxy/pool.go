package proxy

import (
	"sync/atomic"
	"time"
)

// backend is the set of endpoints of one Service port in the current table.
type backend struct {
	id        string
	h2c       bool
	why       string // why there are no endpoints
	endpoints []*endpoint
	turn      atomic.Uint32
}

// endpoint is one address. It lives as long as some table names it, so what was
// learned about it survives a change of the table.
type endpoint struct {
	addr     string
	inFlight atomic.Int64
	failures atomic.Int32 // connects that failed in a row
	until    atomic.Int64 // unix nanoseconds: passed over before
	idle     idleConns
}

// scan bounds how many endpoints one pick looks at.
const scan = 8

// pick chooses the endpoint with the fewest requests in flight among the next
// ones in turn. Those passed over after failed connects come last, those
// in tried not at all.
func (b *backend) pick(tried []*endpoint, now time.Time) *endpoint {
	n := len(b.endpoints)
	if n == 0 {
		return nil
	}
	start := int(b.turn.Add(1) % uint32(n))
	var best, resort *endpoint
	seen := 0
	for i := 0; i < n && seen < scan; i++ {
		e := b.endpoints[(start+i)%n]
		if contains(tried, e) {
			continue
		}
		if e.until.Load() > now.UnixNano() {
			if resort == nil || e.until.Load() < resort.until.Load() {
				resort = e
			}
			continue
		}
		seen++
		if best == nil || e.inFlight.Load() < best.inFlight.Load() {
			best = e
		}
	}
	if best == nil {
		return resort
	}
	return best
}

func contains(list []*endpoint, e *endpoint) bool {
	for _, x := range list {
		if x == e {
			return true
		}
	}
	return false
}

// eject passes the endpoint over for a while that doubles with every failure:
// 100 ms to 10 s.
func (e *endpoint) eject(now time.Time) {
	n := min(e.failures.Add(1), 8)
	pause := min(50*time.Millisecond<<n, 10*time.Second)
	e.until.Store(now.Add(pause).UnixNano())
}

// healthy forgets failures.
func (e *endpoint) healthy() {
	if e.failures.Load() != 0 {
		e.failures.Store(0)
		e.until.Store(0)
	}
}
