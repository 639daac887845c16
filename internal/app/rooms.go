package app

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// room is one running part of the server. Rooms start in order of the list and
// all at once afterwards; when one ends with an error, the others are told to
// end and the server with them, to be started anew by its supervisor.
type room struct {
	name string
	run  func(ctx context.Context) error // until ctx is done; nil for a room without work of its own
	// ready says why the room cannot do its work yet; nil means always ready.
	ready func() error
}

// runRooms runs every room until ctx is done or one fails.
func runRooms(ctx context.Context, rooms []room) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, r := range rooms {
		if r.run == nil {
			continue
		}
		wg.Go(func() {
			err := r.run(ctx)
			if err == nil && ctx.Err() == nil {
				err = errors.New("ended by itself")
			}
			if err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", r.name, err))
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// waiting lists the rooms that are not ready, with the reason.
func waiting(rooms []room) []string {
	var out []string
	for _, r := range rooms {
		if r.ready == nil {
			continue
		}
		if err := r.ready(); err != nil {
			out = append(out, r.name+": "+err.Error())
		}
	}
	return out
}
