package api

import (
	"sync"

	"github.com/penstock-dev/penstock/internal/base/id"
)

// Kinds of things whose changes a [Feed] tells.
const (
	KindRun         = "run"         // key: its id
	KindApplication = "application" // key: namespace/name
	KindEvent       = "event"       // no key: something was added to the log
)

// Feed hears what changes and tells the streams. It carries no states, only
// what to look at again: a stream that is slow looks once where others looked
// many times, so what waits for it is bounded by how many things there are.
type Feed struct {
	epoch string // of this process: numbers of another mean nothing

	mu   sync.Mutex
	seq  int64
	ring [feedKeeps]change // the last changes, at their seq modulo the size
	subs map[*listener]struct{}
}

const (
	// feedKeeps is how many changes a stream that comes back can have missed.
	feedKeeps = 4096
	// maxDirty is how many things can wait for one stream.
	maxDirty = 10_000
)

// change names something that is not what it was.
type change struct{ kind, key string }

// NewFeed returns a feed that has heard nothing yet.
func NewFeed() *Feed {
	return &Feed{epoch: id.New()[:8], subs: map[*listener]struct{}{}}
}

// Changed tells the streams to look at something again. It does not wait.
func (f *Feed) Changed(kind, key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seq++
	c := change{kind, key}
	f.ring[f.seq%feedKeeps] = c
	for l := range f.subs {
		l.mark(c)
	}
}

// Followed says whether any stream is open.
func (f *Feed) Followed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.subs) > 0
}

// listener collects what one stream has to look at. The feed's lock guards it.
type listener struct {
	feed *Feed
	from int64         // number of the last change before it listened
	wake chan struct{} // holds one value while there is something
	list []change
	set  map[change]bool
	lost bool // more changed than is kept
}

// listen returns a listener to what changes from now on.
func (f *Feed) listen() *listener {
	l := &listener{feed: f, wake: make(chan struct{}, 1), set: map[change]bool{}}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.subs[l] = struct{}{}
	l.from = f.seq
	return l
}

// since adds what has changed after seq of this process's numbers; false says
// that it is not known any more.
func (l *listener) since(epoch string, seq int64) bool {
	f := l.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	if epoch != f.epoch || seq > f.seq || f.seq-seq >= feedKeeps {
		return false
	}
	for n := seq + 1; n <= f.seq; n++ {
		l.mark(f.ring[n%feedKeeps])
	}
	return true
}

func (l *listener) mark(c change) {
	switch {
	case l.set[c]:
		return
	case len(l.list) >= maxDirty:
		l.list, l.lost = nil, true
		clear(l.set)
	default:
		l.list = append(l.list, c)
		l.set[c] = true
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// take returns what is to be looked at, the number up to which that is
// everything, and whether something was lost.
func (l *listener) take() (list []change, seq int64, lost bool) {
	l.feed.mu.Lock()
	defer l.feed.mu.Unlock()
	list, lost = l.list, l.lost
	l.list, l.lost = nil, false
	clear(l.set)
	return list, l.feed.seq, lost
}

func (l *listener) close() {
	l.feed.mu.Lock()
	defer l.feed.mu.Unlock()
	delete(l.feed.subs, l)
}
