package identity

import (
	"fmt"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Throttled refuses a failed attempt that followed too many others from the
// same address.
type Throttled struct{ wait time.Duration }

func (t *Throttled) Error() string {
	return fmt.Sprintf("too many failed attempts, try again in %s", t.wait.Round(time.Second))
}

// Unwrap makes it a problem.ErrForbidden.
func (t *Throttled) Unwrap() error { return problem.ErrForbidden }

// RetryAfter says when another attempt is answered.
func (t *Throttled) RetryAfter() time.Duration { return t.wait }

const (
	burst    = 20              // failures that are answered at once
	refill   = 3 * time.Second // one more after this time
	maxHosts = 4096            // addresses that are remembered
)

// throttle counts failures per address, as a bucket that leaks.
type throttle struct{ m map[string]bucket }

type bucket struct {
	full time.Duration // how much time the failures have filled
	at   time.Time     // when that was so
}

// fail counts a failure from host and returns how long to wait before the next
// is answered; 0 means that this one is.
func (t *throttle) fail(host string, now time.Time) time.Duration {
	b := t.m[host]
	b.full = max(0, b.full-max(0, now.Sub(b.at)))
	b.at = now
	if b.full > (burst-1)*refill {
		t.m[host] = b
		return b.full - (burst-1)*refill
	}
	b.full += refill
	if _, known := t.m[host]; !known && len(t.m) >= maxHosts {
		t.forget(now)
	}
	t.m[host] = b
	return 0
}

// forget makes room: first the addresses whose bucket has leaked empty, then,
// should there be none, any.
func (t *throttle) forget(now time.Time) {
	for host, b := range t.m {
		if now.Sub(b.at) >= b.full {
			delete(t.m, host)
		}
	}
	for host := range t.m {
		if len(t.m) < maxHosts {
			return
		}
		delete(t.m, host)
	}
}
