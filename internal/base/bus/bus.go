// Package bus carries typed events between rooms of one process.
//
// It only wakes subscribers: whatever must not be lost is in the event log of
// the store, and a subscriber that was slow or down reads it from there. So
// [Topic.Publish] never blocks, and a full subscription merges wake-ups by
// dropping the newest.
package bus

import "sync"

// Topic is one kind of event. The zero value is ready to use.
type Topic[T any] struct {
	mu   sync.Mutex
	subs map[*Subscription[T]]struct{}
}

// Subscription receives the events of one topic on C until it is closed.
type Subscription[T any] struct {
	C     <-chan T
	c     chan T
	topic *Topic[T]
}

// Subscribe returns a subscription that buffers up to n events (at least 1).
func (t *Topic[T]) Subscribe(n int) *Subscription[T] {
	c := make(chan T, max(n, 1))
	s := &Subscription[T]{C: c, c: c, topic: t}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.subs == nil {
		t.subs = map[*Subscription[T]]struct{}{}
	}
	t.subs[s] = struct{}{}
	return s
}

// Publish offers v to every subscriber and does not wait for any.
func (t *Topic[T]) Publish(v T) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.subs {
		select {
		case s.c <- v:
		default:
		}
	}
}

// Close ends the subscription. C is not closed, so that a reader that selects
// on it does not spin.
func (s *Subscription[T]) Close() {
	s.topic.mu.Lock()
	defer s.topic.mu.Unlock()
	delete(s.topic.subs, s)
}
