package gateway

import (
	"net"
	"sync"
	"time"
)

// state is what the gateway says about itself.
type state struct {
	started time.Time
	addr    net.Addr

	mu     sync.Mutex
	source string // none, disk, predecessor, live
	tabled time.Time
	watch  string // waiting, syncing, live, lost
	since  time.Time
	reason string
}

func newState(now time.Time, addr net.Addr) *state {
	return &state{started: now, addr: addr, source: "none", watch: "waiting", since: now}
}

func (s *state) table(source string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.source, s.tabled = source, at
}

// watching records what the watch does; it returns false when nothing changed.
func (s *state) watching(what, reason string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watch == what {
		s.reason = reason
		return false
	}
	s.watch, s.since, s.reason = what, time.Now(), reason
	return true
}

// Status is the body of GET /v1/status on the admin socket.
type Status struct {
	Version   string    `json:"version"`
	PID       int       `json:"pid"`
	StartedAt time.Time `json:"startedAt"`
	Listen    string    `json:"listen"`
	// Ready means that requests are routed by a table: a live one, or the one
	// saved last.
	Ready bool        `json:"ready"`
	Table TableStatus `json:"table"`
	Watch WatchStatus `json:"watch"`
	Stats any         `json:"stats"`
}

// TableStatus says where the current routes are from.
type TableStatus struct {
	Source   string    `json:"source"` // none, disk, predecessor, live
	At       time.Time `json:"at,omitzero"`
	Hosts    int       `json:"hosts"`
	Backends int       `json:"backends"`
	Notices  int       `json:"notices"`
}

// WatchStatus says how the watch of the API server does.
type WatchStatus struct {
	State  string    `json:"state"` // waiting, syncing, live, lost
	Since  time.Time `json:"since"`
	Reason string    `json:"reason,omitempty"`
}

// recovered turns lost into live; it returns false when it was not lost.
func (s *state) recovered() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watch != "lost" {
		return false
	}
	s.watch, s.since, s.reason = "live", time.Now(), ""
	return true
}
