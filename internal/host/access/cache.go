package access

import (
	"sync"
	"time"

	"github.com/penstock-dev/penstock/internal/host/identity"
)

// How long an answer counts. They bound how late a change of roles takes
// effect.
const (
	allowedFor = 10 * time.Second
	deniedFor  = 2 * time.Second
	// maxAnswers that are remembered.
	maxAnswers = 10_000
)

// question is what somebody wants to know.
type question struct {
	user, groups string
	identity.Action
}

type answer struct {
	allowed bool
	until   time.Time
}

// cache remembers answers for a short time.
type cache struct {
	now func() time.Time

	mu sync.Mutex
	m  map[question]answer
}

func newCache(now func() time.Time) *cache { return &cache{now: now, m: map[question]answer{}} }

func (c *cache) get(q question) (allowed, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok := c.m[q]
	if !ok || !c.now().Before(a.until) {
		return false, false
	}
	return a.allowed, true
}

func (c *cache) put(q question, allowed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if len(c.m) >= maxAnswers {
		c.sweep(now)
	}
	life := deniedFor
	if allowed {
		life = allowedFor
	}
	c.m[q] = answer{allowed, now.Add(life)}
}

// sweep makes room: answers that do not count any more, or else all.
func (c *cache) sweep(now time.Time) {
	for q, a := range c.m {
		if !now.Before(a.until) {
			delete(c.m, q)
		}
	}
	if len(c.m) >= maxAnswers {
		clear(c.m)
	}
}
