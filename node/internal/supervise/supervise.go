// Package supervise starts the parts of the node in the order of their needs,
// records when each became ready, notices when one ends and stops them in the
// opposite order.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// Component is a part of the node.
type Component struct {
	Name  string
	After []string // names of those that must be ready before it starts
	// Run works until ctx is done and calls ready once, when others may rely on
	// it. An error ends the whole node: the Kubernetes parts register
	// themselves once per process and cannot be started a second time in it.
	Run func(ctx context.Context, ready func()) error
	// Stop is how long it may take to stop; 0 means 5 s.
	Stop time.Duration
}

// States of a component.
const (
	Waiting  = "waiting"
	Starting = "starting"
	Ready    = "ready"
	Stopped  = "stopped"
	Failed   = "failed"
)

// Status is one component's state, as others see it.
type Status struct {
	Name    string     `json:"name"`
	State   string     `json:"state"`
	Message string     `json:"message,omitempty"`
	Since   time.Time  `json:"since"`
	Started *time.Time `json:"startedAt,omitempty"`
	Ready   *time.Time `json:"readyAt,omitempty"`
	// ReadyMillis is the time from the start of the process until it was ready.
	ReadyMillis int64 `json:"readyMillis,omitempty"`
}

// Group runs components.
type Group struct {
	log     *slog.Logger
	started time.Time

	mu      sync.Mutex
	members []*member
	changed chan struct{} // closed and replaced at each change
}

type member struct {
	Component
	status Status
	ready  chan struct{}
	done   chan struct{}
	cancel context.CancelFunc
}

// New returns a group whose times count from started.
func New(log *slog.Logger, started time.Time, components []Component) (*Group, error) {
	g := &Group{log: log, started: started, changed: make(chan struct{})}
	for _, c := range components {
		for _, need := range c.After {
			if !slices.ContainsFunc(g.members, func(m *member) bool { return m.Name == need }) {
				return nil, fmt.Errorf("component %s needs %s, which is not before it", c.Name, need)
			}
		}
		g.members = append(g.members, &member{
			Component: c,
			status:    Status{Name: c.Name, State: Waiting, Since: started},
			ready:     make(chan struct{}),
			done:      make(chan struct{}),
		})
	}
	return g, nil
}

// Run starts everything and returns when ctx is done and all have stopped, or
// when one failed and the others have stopped.
func (g *Group) Run(ctx context.Context) error {
	failed := make(chan error, len(g.members))
	stop, stopWaiting := context.WithCancel(ctx)
	defer stopWaiting()
	var wg sync.WaitGroup
	for _, m := range g.members {
		// Not a child of ctx: the members are stopped one after the other.
		mctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		m.cancel = cancel
		wg.Go(func() {
			defer close(m.done)
			if !g.await(stop, mctx, m) {
				g.set(m, Stopped, "")
				return
			}
			g.set(m, Starting, "")
			err := g.run(mctx, m)
			if mctx.Err() != nil {
				if err != nil && !errors.Is(err, context.Canceled) {
					g.log.Debug("component ended with an error while stopping", "component", m.Name, "error", err)
				}
				g.set(m, Stopped, "")
				return
			}
			if err == nil {
				err = errors.New("ended without being asked to")
			}
			g.set(m, Failed, err.Error())
			failed <- fmt.Errorf("%s: %w", m.Name, err)
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	stopWaiting()
	for _, m := range slices.Backward(g.members) {
		m.cancel()
		limit := m.Stop
		if limit == 0 {
			limit = 5 * time.Second
		}
		t := time.NewTimer(limit)
		select {
		case <-m.done:
		case <-t.C:
			// Its goroutines end with the process; what it holds on disk is
			// safe, since every part survives a kill.
			g.log.Debug("component did not stop in time", "component", m.Name, "limit", limit)
		}
		t.Stop()
	}
	return err
}

// await waits until everything that m needs is ready.
func (g *Group) await(stop, mctx context.Context, m *member) bool {
	for _, need := range m.After {
		i := slices.IndexFunc(g.members, func(o *member) bool { return o.Name == need })
		select {
		case <-g.members[i].ready:
		case <-stop.Done():
			return false
		case <-mctx.Done():
			return false
		}
	}
	return stop.Err() == nil
}

func (g *Group) run(ctx context.Context, m *member) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
			g.log.Error("component panicked", "component", m.Name, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	var once sync.Once
	return m.Run(ctx, func() {
		once.Do(func() {
			g.set(m, Ready, "")
			close(m.ready)
		})
	})
}

func (g *Group) set(m *member, state, message string) {
	now := time.Now()
	g.mu.Lock()
	m.status.State, m.status.Message, m.status.Since = state, message, now
	switch state {
	case Starting:
		m.status.Started = &now
	case Ready:
		m.status.Ready = &now
		m.status.ReadyMillis = now.Sub(g.started).Milliseconds()
	}
	close(g.changed)
	g.changed = make(chan struct{})
	g.mu.Unlock()
	g.log.Debug("component changed", "component", m.Name, "state", state, "after", now.Sub(g.started).Round(time.Millisecond))
}

// Status returns the state of each component, and a channel that is closed at
// the next change.
func (g *Group) Status() ([]Status, <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]Status, 0, len(g.members))
	for _, m := range g.members {
		out = append(out, m.status)
	}
	return out, g.changed
}

// Pending returns the names of the components that are not ready.
func Pending(all []Status) []string {
	var out []string
	for _, s := range all {
		if s.State != Ready {
			out = append(out, s.Name)
		}
	}
	return out
}

// WaitReady waits until all components are ready.
func (g *Group) WaitReady(ctx context.Context) error {
	for {
		all, changed := g.Status()
		pending := Pending(all)
		if len(pending) == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %v: %w", pending, ctx.Err())
		}
	}
}
