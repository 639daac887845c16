package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// Event is an entry of the event log.
type Event struct {
	Seq     int64           `json:"seq" doc:"order in the log"`
	ID      string          `json:"id" doc:"the same fact has the same id"`
	Type    string          `json:"type" doc:"a type of CDEvents, or dev.cdeventsx.penstock-…"`
	Subject string          `json:"subject" doc:"what it is about"`
	Project string          `json:"project"`
	Time    time.Time       `json:"time"`
	Data    json.RawMessage `json:"data"`
}

// EventQuery chooses events.
type EventQuery struct {
	Type, Subject string // empty is all
	As            string // plain, cdevents, cloudevents: what Data is
	NewestFirst   bool
	After         int64 // only what comes after the one with this Seq in that order; 0 is from the beginning
	Limit         int
}

// Events is the event log.
type Events interface {
	List(ctx context.Context, q EventQuery) ([]Event, error)
	// Last returns the Seq of the newest event, 0 when there is none.
	Last(ctx context.Context) (int64, error)
}

type eventsQuery struct {
	Paging
	Sort    string `query:"sort" enum:"-time,time" default:"-time" doc:"newest or oldest first"`
	Type    string `query:"type" maxLength:"100"`
	Subject string `query:"subject" maxLength:"300"`
	Project string `query:"project" maxLength:"100"`
	As      string `query:"as" enum:"plain,cdevents,cloudevents" default:"plain" doc:"what data holds: our own value, or the event as CDEvents or CloudEvents write it"`
}

// Events registers /api/v1/events.
func (a *API) Events(s Events) {
	handle(a, route("list-events", http.MethodGet, "/api/v1/events", "events", "List what happened, newest first", http.StatusUnprocessableEntity),
		need{verb: "list", resource: "events", scoped: true},
		func(_ context.Context, in *eventsQuery) (target, error) { return target{project: in.Project}, nil },
		func(ctx context.Context, in *eventsQuery) (*body[Page[Event]], error) {
			q := EventQuery{Type: in.Type, Subject: in.Subject, As: in.As, NewestFirst: in.Sort == "-time"}
			page, err := pageBySeq(in.Paging, listID("events", in.Sort, in.Type, in.Subject, in.Project), seesAll(ctx) && in.Project == "",
				func(after int64, limit int) ([]Event, error) {
					q.After, q.Limit = after, limit
					return s.List(ctx, q)
				},
				func(e Event) (int64, bool) {
					return e.Seq, (in.Project == "" || e.Project == in.Project) && sees(ctx, e.Project)
				})
			return &body[Page[Event]]{page}, err
		})
}
