package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// room is one running part of the server. Rooms start in order of the list; a
// room stands on those before it, so they end in the opposite order: the last
// one, which lets requests in, first. When one ends with an error, all are told
// to end and the server with them, to be started anew by its supervisor.
type room struct {
	name string
	run  func(ctx context.Context) error // until ctx is done; nil for a room without work of its own
	// ready says why the room cannot do its work yet; nil means always ready.
	ready func() error
	// stop is how long the room may take to end; default roomStop. A room that
	// takes longer is left behind: what it does is recorded, and is found
	// again at the next start.
	stop time.Duration
}

// roomStop is more than any room needs that does not wait for others, allStop
// is for all of them together: less than what the supervisor gives the server.
const (
	roomStop = 5 * time.Second
	allStop  = 18 * time.Second
)

// runRooms runs every room until ctx is done or one fails.
func runRooms(ctx context.Context, rooms []room, log *slog.Logger) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	type running struct {
		room
		end   context.CancelFunc
		ended chan struct{}
	}
	var all []running
	for _, r := range rooms {
		if r.run == nil {
			continue
		}
		own, end := context.WithCancel(context.WithoutCancel(ctx))
		one := running{r, end, make(chan struct{})}
		all = append(all, one)
		go func() {
			defer close(one.ended)
			err := r.run(own)
			if own.Err() != nil {
				return
			}
			if err == nil {
				err = errors.New("ended by itself")
			}
			cancel(fmt.Errorf("%s: %w", r.name, err))
		}()
	}
	<-ctx.Done()
	deadline := time.Now().Add(allStop)
	for _, r := range slices.Backward(all) {
		r.end()
		most := min(cmp.Or(r.stop, roomStop), time.Until(deadline))
		late := time.NewTimer(most)
		select {
		case <-r.ended:
			log.Debug("room ended", "room", r.name)
		case <-late.C:
			log.Warn("room does not end, going on without it", "room", r.name, "after", most.String())
		}
		late.Stop()
	}
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
