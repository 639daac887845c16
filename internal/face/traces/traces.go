// Package traces tells what went through the pipeline as OpenTelemetry traces:
// a CI run is a trace with a span for each job and step; a push and a sync are
// traces of their own, linked to what made them happen. One follows the links
// from a push to its runs, to the push of a manifest by a job, to the sync that
// brought it to the cluster.
//
// Spans are made of what is recorded, after the fact, under ids that follow
// from names (package base/tracing). So nothing is lost when a server ends in
// the middle of a run, and telling twice does no harm.
package traces

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/ci/runs"
	"github.com/penstock-dev/penstock/internal/host/observe"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// Runs reads CI runs.
type Runs interface {
	Get(ctx context.Context, id int64) (runs.Run, error)
}

// Receiver takes spans; an error means that it has not.
type Receiver interface {
	Send(ctx context.Context, spans []observe.Span) error
}

// Options of a Teller.
type Options struct {
	DB       *store.DB
	Runs     Runs
	Receiver Receiver
	// Wake says that there may be something new; what counts is the event log.
	Wake <-chan struct{}
	Log  *slog.Logger
}

// Teller sends what the event log says. Make it with [New].
type Teller struct{ Options }

// New returns a Teller that does nothing yet.
func New(o Options) *Teller { return &Teller{o} }

const (
	consumer = "traces"
	batch    = 100              // events at once
	look     = 30 * time.Second // without being woken
	sendTime = 15 * time.Second // for one batch
	// After a failure: soon, then later and later.
	again, atLast = 250 * time.Millisecond, 30 * time.Second
)

// Run tells what happens from the first time on that it ran, until ctx ends.
func (t *Teller) Run(ctx context.Context) error {
	if err := t.begin(ctx); err != nil {
		return fmt.Errorf("begin with the traces: %w", err)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	var wait time.Duration // since the last failure; 0: none
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.Wake:
		case <-timer.C:
		}
		more, err := t.step(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			if wait == 0 {
				t.Log.Warn("cannot send traces, trying again", "error", err)
			}
			wait = min(max(again, 2*wait), atLast)
			timer.Reset(wait)
		case more:
			timer.Reset(0)
		default:
			wait = 0
			timer.Reset(look)
		}
	}
}

// begin puts a new teller at the end of the log: what was before it was asked
// to tell is no news.
func (t *Teller) begin(ctx context.Context) error {
	return t.DB.Write(ctx, func(tx store.Tx) error {
		at, err := store.Cursor(ctx, tx, consumer)
		if err != nil || at > 0 {
			return err
		}
		for {
			events, err := store.EventsAfter(ctx, tx, "", at, 1000)
			if err != nil {
				return err
			}
			if len(events) == 0 {
				return store.SetCursor(ctx, tx, consumer, at)
			}
			at = events[len(events)-1].Seq
		}
	})
}

// step sends one batch. It says whether there may be more.
func (t *Teller) step(ctx context.Context) (more bool, err error) {
	var events []store.Event
	err = t.DB.Read(ctx, func(q store.Queryer) error {
		at, err := store.Cursor(ctx, q, consumer)
		if err != nil {
			return err
		}
		events, err = store.EventsAfter(ctx, q, "", at, batch)
		return err
	})
	if err != nil || len(events) == 0 {
		return false, err
	}
	var spans []observe.Span
	for _, e := range events {
		some, err := t.of(ctx, e)
		if err != nil {
			return false, fmt.Errorf("event %s: %w", e.ID, err)
		}
		spans = append(spans, some...)
	}
	sctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	if err := t.Receiver.Send(sctx, spans); err != nil {
		return false, err
	}
	err = t.DB.Write(ctx, func(tx store.Tx) error { return store.SetCursor(ctx, tx, consumer, events[len(events)-1].Seq) })
	return err == nil && len(events) == batch, err
}

// of makes the spans of one event.
func (t *Teller) of(ctx context.Context, e store.Event) ([]observe.Span, error) {
	switch e.Type {
	case event.TypePush:
		var p event.Push
		if err := json.Unmarshal(e.Data, &p); err != nil {
			t.Log.Error("push event cannot be read", "event", e.ID, "error", err)
			return nil, nil
		}
		by, err := t.job(ctx, p.Actor)
		return ofPush(p, by), err
	case event.TypeRunFinished:
		var f event.RunFinished
		if err := json.Unmarshal(e.Data, &f); err != nil {
			t.Log.Error("event of a finished run cannot be read", "event", e.ID, "error", err)
			return nil, nil
		}
		run, err := t.Runs.Get(ctx, f.RunID)
		if errors.Is(err, problem.ErrNotFound) {
			return nil, nil
		}
		return ofRun(run), err
	}
	return nil, nil
}
