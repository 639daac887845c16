package supervise

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var discard = slog.New(slog.DiscardHandler)

// recorder notes what happens in which order.
type recorder struct {
	mu     sync.Mutex
	events []string
}

func (r *recorder) add(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, s)
}

// part is ready after a while and ends when it is told to.
func (r *recorder) part(name string, after ...string) Component {
	return Component{Name: name, After: after, Run: func(ctx context.Context, ready func()) error {
		r.add("start " + name)
		time.Sleep(time.Second)
		ready()
		<-ctx.Done()
		r.add("stop " + name)
		return ctx.Err()
	}}
}

func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		g, err := New(discard, time.Now(), []Component{r.part("a"), r.part("b", "a"), r.part("c", "b")})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- g.Run(ctx) }()
		if err := g.WaitReady(ctx); err != nil {
			t.Fatal(err)
		}
		all, _ := g.Status()
		for i, s := range all {
			if want := int64(1000 * (i + 1)); s.ReadyMillis != want || s.State != Ready {
				t.Errorf("%s is %s after %d ms, want %d", s.Name, s.State, s.ReadyMillis, want)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("a stop gives %v", err)
		}
		want := []string{"start a", "start b", "start c", "stop c", "stop b", "stop a"}
		if !slices.Equal(r.events, want) {
			t.Errorf("got %v", r.events)
		}
	})
}

func TestFailureStopsAll(t *testing.T) {
	for name, run := range map[string]func(context.Context, func()) error{
		"error": func(context.Context, func()) error { return errors.New("disk is gone") },
		"ended": func(context.Context, func()) error { return nil },
		"panic": func(context.Context, func()) error { panic("disk is gone") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var r recorder
				g, err := New(discard, time.Now(), []Component{r.part("a"), {Name: "bad", After: []string{"a"}, Run: run}, r.part("never", "bad")})
				if err != nil {
					t.Fatal(err)
				}
				err = g.Run(t.Context())
				if err == nil || !strings.HasPrefix(err.Error(), "bad: ") {
					t.Errorf("got %v", err)
				}
				if want := []string{"start a", "stop a"}; !slices.Equal(r.events, want) {
					t.Errorf("got %v", r.events)
				}
				all, _ := g.Status()
				if all[1].State != Failed || all[1].Message == "" || all[2].State != Stopped {
					t.Errorf("got %+v", all)
				}
			})
		})
	}
}

// TestStopIsBounded: a part that does not stop does not keep the others.
func TestStopIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var r recorder
		g, err := New(discard, time.Now(), []Component{r.part("a"), {Name: "stuck", Stop: 3 * time.Second, Run: func(_ context.Context, ready func()) error {
			ready()
			<-release
			return nil
		}}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- g.Run(ctx) }()
		if err := g.WaitReady(ctx); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		cancel()
		<-done
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("stopping took %s", took)
		}
		close(release)
	})
}

func TestNewRefusesUnknownNeeds(t *testing.T) {
	if _, err := New(discard, time.Now(), []Component{{Name: "a", After: []string{"b"}}, {Name: "b"}}); err == nil {
		t.Error("a need that comes later was accepted")
	}
}

func TestWaitReadyNamesWhatIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		g, err := New(discard, time.Now(), []Component{r.part("a"), r.part("b")})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := g.WaitReady(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "[a b]") {
			t.Errorf("got %v", err)
		}
	})
}
