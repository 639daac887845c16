package app

import (
	"context"
	"encoding/json"
	"math"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/face/api"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// eventFace shows the event log to the API.
type eventFace struct {
	db  *store.DB
	url string // of the server
}

func (f eventFace) List(ctx context.Context, q api.EventQuery) (all []api.Event, err error) {
	filter := store.EventFilter{Subject: q.Subject}
	if q.Type != "" {
		filter.Types = []string{q.Type}
	}
	read := store.Events
	if q.NewestFirst {
		read = store.EventsBefore
		if q.After == 0 {
			q.After = math.MaxInt64
		}
	}
	var list []store.Event
	err = f.db.Read(ctx, func(tx store.Queryer) (err error) {
		list, err = read(ctx, tx, filter, q.After, q.Limit)
		return err
	})
	for _, e := range list {
		shown := api.Event{Seq: e.Seq, ID: e.ID, Type: e.Type, Subject: e.Subject, Project: eventProject(e), Time: e.Time, Data: e.Data}
		var rerr error
		switch q.As {
		case "cdevents":
			shown.Data, rerr = event.CDEvent(e.Entry(), f.url)
		case "cloudevents":
			shown.Data, rerr = event.CloudEvent(e.Entry(), f.url)
		}
		if rerr != nil {
			return nil, rerr
		}
		all = append(all, shown)
	}
	return all, err
}

func (f eventFace) Last(ctx context.Context) (int64, error) {
	list, err := f.List(ctx, api.EventQuery{NewestFirst: true, Limit: 1})
	if err != nil || len(list) == 0 {
		return 0, err
	}
	return list[0].Seq, nil
}

// eventProject is the project that an event belongs to: the owner of its
// repository, or the namespace of its Application. Others belong to none, and
// are for those who see all.
func eventProject(e store.Event) string {
	var about struct {
		Repo        string `json:"repo"`
		Application string `json:"application"`
	}
	if json.Unmarshal(e.Data, &about) != nil {
		return ""
	}
	project, _, _ := strings.Cut(or(about.Repo, about.Application), "/")
	return project
}

// lookForEvents is how often the log is looked at. Rooms write to it without
// telling anybody else.
const lookForEvents = 250 * time.Millisecond

// watchEvents tells feed when something was added to the event log.
func watchEvents(ctx context.Context, f eventFace, feed *api.Feed) error {
	last, err := f.Last(ctx)
	if err != nil {
		return err
	}
	tick := time.NewTicker(lookForEvents)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if !feed.Followed() {
			continue // nobody would hear
		}
		now, err := f.Last(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		}
		if now != last {
			last = now
			feed.Changed(api.KindEvent, "")
		}
	}
}

// streamSource is what the streams of the API read.
type streamSource struct {
	feed *api.Feed
	from api.Sources
}

func (s streamSource) Feed() *api.Feed      { return s.feed }
func (s streamSource) Sources() api.Sources { return s.from }
