package app

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestRunRooms(t *testing.T) {
	until := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	boom := errors.New("boom")
	for name, tc := range map[string]struct {
		other func(ctx context.Context) error
		want  error
	}{
		"all end with the context": {until, nil},
		"one fails":                {func(context.Context) error { return boom }, boom},
		"one stops by itself":      {func(context.Context) error { return nil }, errAny},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				if tc.want == nil {
					time.AfterFunc(time.Minute, cancel)
				}
				began := time.Now()
				err := runRooms(ctx, []room{{name: "a", run: until}, {name: "passive"}, {name: "b", run: tc.other}}, slog.New(slog.DiscardHandler))
				switch {
				case tc.want == nil && (err != nil || time.Since(began) != time.Minute):
					t.Errorf("%v after %v", err, time.Since(began))
				case tc.want == errAny && err == nil, tc.want == boom && !errors.Is(err, boom):
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

var errAny = errors.New("any")

func TestWaitingNamesTheRoomAndTheReason(t *testing.T) {
	got := waiting([]room{
		{name: "git"},
		{name: "cluster", ready: func() error { return errors.New("no API yet") }},
		{name: "ci", ready: func() error { return nil }},
	})
	if len(got) != 1 || got[0] != "cluster: no API yet" {
		t.Errorf("got %q", got)
	}
}

// TestRoomsEndInOrder: what lets work in ends before what the work stands on,
// and one that hangs holds the others up for its own time only.
func TestRoomsEndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		release := make(chan struct{})
		began := time.Now()
		var ended []string
		r := func(name string, takes time.Duration) room {
			return room{name: name, stop: 3 * time.Second, run: func(ctx context.Context) error {
				<-ctx.Done()
				select {
				case <-time.After(takes):
					ended = append(ended, name)
				case <-release:
				}
				return nil
			}}
		}
		time.AfterFunc(time.Minute, cancel)
		err := runRooms(ctx, []room{r("store", 0), r("hangs", time.Hour), r("http", 2*time.Second)}, slog.New(slog.DiscardHandler))
		if got := strings.Join(ended, " "); err != nil || got != "http store" || time.Since(began) != time.Minute+5*time.Second {
			t.Errorf("%v; ended: %s after %v", err, got, time.Since(began))
		}
		close(release)
	})
}
