package proxy

import "sync/atomic"

// Stats are counts since the start.
type Stats struct {
	Requests        map[string]int64 `json:"requests"`        // answered, by class: "2xx"
	InFlight        int64            `json:"inFlight"`        // now
	Upgraded        int64            `json:"upgraded"`        // connections that switched protocols, now
	Held            int64            `json:"held"`            // waiting for an endpoint, now
	Retries         int64            `json:"retries"`         // attempts after the first
	ConnectFailures int64            `json:"connectFailures"` // endpoints that could not be reached
	BrokenOff       int64            `json:"brokenOff"`       // answers that ended early
	ClientGone      int64            `json:"clientGone"`      // clients that left before the answer
	Refused         int64            `json:"refused"`         // answered by the gateway itself with an error
	Mirrored        int64            `json:"mirrored"`        // copies sent for HTTPRoutes
	NotMirrored     int64            `json:"notMirrored"`     // copies left out: too many at once, or too large
}

type counters struct {
	classes                            [6]atomic.Int64
	inFlight, upgraded                 atomic.Int64
	retries, connectFailures           atomic.Int64
	brokenOff, clientGone, refusedByUs atomic.Int64
	mirrored, notMirrored              atomic.Int64
}

func (c *counters) answered(code int) {
	if i := code / 100; i > 0 && i < len(c.classes) {
		c.classes[i].Add(1)
	}
}

// Stats returns the counts.
func (p *Proxy) Stats() Stats {
	c := &p.stats
	s := Stats{
		Requests:        map[string]int64{},
		InFlight:        c.inFlight.Load(),
		Upgraded:        c.upgraded.Load(),
		Held:            p.held.Load(),
		Retries:         c.retries.Load(),
		ConnectFailures: c.connectFailures.Load(),
		BrokenOff:       c.brokenOff.Load(),
		ClientGone:      c.clientGone.Load(),
		Refused:         c.refusedByUs.Load(),
		Mirrored:        c.mirrored.Load(),
		NotMirrored:     c.notMirrored.Load(),
	}
	for i, name := range []string{"", "1xx", "2xx", "3xx", "4xx", "5xx"} {
		if n := c.classes[i].Load(); name != "" && n > 0 {
			s.Requests[name] = n
		}
	}
	return s
}
