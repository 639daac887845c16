package logs

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// keep is how many records are held at most; the oldest go.
	keep = 200
	// settling is how long after ready the parts still talk about the start.
	settling = 10 * time.Second
)

// ring holds records back.
type ring struct {
	mu      sync.Mutex
	holding bool
	until   time.Time // when settling ends; zero while not ready
	records []heldRecord
}

type heldRecord struct {
	h slog.Handler
	r slog.Record
}

func (g *ring) settle() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.until = time.Now().Add(settling)
}

func (g *ring) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.holding, g.until = true, time.Time{}
}

// add takes a record if records are held.
func (g *ring) add(h slog.Handler, r slog.Record) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.holding && !g.until.IsZero() && time.Now().After(g.until) {
		g.holding, g.records = false, nil
	}
	if !g.holding {
		return false
	}
	if len(g.records) == keep {
		g.records = g.records[1:]
	}
	g.records = append(g.records, heldRecord{h, r.Clone()})
	return true
}

func (g *ring) replay() {
	g.mu.Lock()
	records := g.records
	g.records, g.holding = nil, false
	g.mu.Unlock()
	for _, r := range records {
		_ = r.h.Handle(context.Background(), r.r) // a log that cannot be written has nobody to tell
	}
}

// held is a handler in front of another.
type held struct {
	ring *ring
	slog.Handler
}

// Handle implements slog.Handler.
func (h *held) Handle(ctx context.Context, r slog.Record) error {
	if h.ring.add(h.Handler, r) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *held) WithAttrs(a []slog.Attr) slog.Handler {
	return &held{h.ring, h.Handler.WithAttrs(a)}
}

// WithGroup implements slog.Handler.
func (h *held) WithGroup(name string) slog.Handler {
	return &held{h.ring, h.Handler.WithGroup(name)}
}
