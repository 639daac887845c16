package app

import (
	"context"
	"log/slog"
	"time"

	"github.com/penstock-dev/penstock/internal/host/blob"
)

// sweepEvery is how often what died left in the blob store is removed.
const sweepEvery = 24 * time.Hour

// sweepBlobs sweeps the store at the start and once a day until ctx ends. A
// store that is away does not keep the server from working.
func sweepBlobs(ctx context.Context, s blob.Store, log *slog.Logger) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			log.Error("cannot remove unfinished uploads", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
