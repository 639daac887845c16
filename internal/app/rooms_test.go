package app

import (
	"context"
	"errors"
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
				err := runRooms(ctx, []room{{name: "a", run: until}, {name: "passive"}, {name: "b", run: tc.other}})
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
