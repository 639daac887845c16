package git

import (
	"context"
	"errors"
	"sync"
	"time"
)

// slots bounds the git processes that serve clients, in total and for one
// user: a job that opens many slow fetches keeps others from nothing.
type slots struct {
	all     chan struct{}
	perUser int

	mu    sync.Mutex
	users map[string]*userSlots
}

type userSlots struct {
	free chan struct{}
	refs int // requests that use or wait for one
}

func newSlots(total int) *slots {
	return &slots{all: make(chan struct{}, total), perUser: max(1, total/4), users: map[string]*userSlots{}}
}

var errNoSlot = errors.New("too many git requests at once, try again")

// take waits up to wait for user's turn.
func (s *slots) take(ctx context.Context, user string, wait time.Duration) (release func(), err error) {
	s.mu.Lock()
	u := s.users[user]
	if u == nil {
		u = &userSlots{free: make(chan struct{}, s.perUser)}
		s.users[user] = u
	}
	u.refs++
	s.mu.Unlock()
	leave := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if u.refs--; u.refs == 0 {
			delete(s.users, user)
		}
	}
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	taken := make([]chan struct{}, 0, 2)
	release = func() {
		for _, c := range taken {
			<-c
		}
		leave()
	}
	for _, c := range []chan struct{}{u.free, s.all} {
		select {
		case c <- struct{}{}:
			taken = append(taken, c)
		case <-ctx.Done():
			release()
			return nil, ctx.Err()
		case <-timeout.C:
			release()
			return nil, errNoSlot
		}
	}
	return release, nil
}
