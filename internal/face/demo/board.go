package demo

import (
	"slices"
	"sync"
	"time"

	"github.com/penstock-dev/penstock/internal/face/live"
)

// board keeps what is going on and shows it. Several goroutines write to it.
type board struct {
	view live.View

	mu    sync.Mutex
	items []*topic
}

// topic is a top-level item and those below it.
type topic struct {
	live.Item
	below []live.Item
}

func newBoard(v live.View) *board { return &board{view: v} }

// begin adds a topic that is going on.
func (b *board) begin(name, detail string) { b.set(name, "running", detail, nil) }

// end notes that a topic is over.
func (b *board) end(name, state, detail string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.topic(name)
	t.State, t.Detail, t.Ended = state, detail, time.Now()
	b.show()
}

// set changes a topic and what is below it.
func (b *board) set(name, state, detail string, below []live.Item) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.topic(name)
	if t.State == state && t.Detail == detail && slices.Equal(t.below, below) {
		return
	}
	t.State, t.Detail, t.below = state, detail, below
	if state == "running" && t.Began.IsZero() {
		t.Began = time.Now()
	}
	b.show()
}

func (b *board) topic(name string) *topic {
	for _, t := range b.items {
		if t.Name == name {
			return t
		}
	}
	t := &topic{Item: live.Item{Name: name}}
	b.items = append(b.items, t)
	return t
}

// unfinished describes the topics that still go on.
func (b *board) unfinished() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []string
	for _, t := range b.items {
		if t.Ended.IsZero() {
			all = append(all, t.Name+" ("+t.Detail+")")
		}
	}
	return all
}

// stop marks what still goes on as ended in state, for the last picture.
func (b *board) stop(state string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range b.items {
		if t.Ended.IsZero() {
			t.State, t.Ended = state, time.Now()
		}
	}
	b.show()
}

func (b *board) show() {
	var all []live.Item
	for _, t := range b.items {
		all = append(all, t.Item)
		all = append(all, t.below...)
	}
	b.view.Update(all)
}
