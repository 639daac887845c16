package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/identity"
)

// Sources are what streams read. Fields may be nil: then their topics are not
// served.
type Sources struct {
	Runs         Runs
	Applications Applications
	Events       Events
}

// Pace of streams.
const (
	streamWrite = 20 * time.Second      // a client that takes nothing for this long is dropped
	streamPing  = 15 * time.Second      // a comment this often shows that the stream lives
	streamRest  = 30 * time.Millisecond // between looks: a burst of changes is one look
	perCaller   = 20                    // streams of one user
	maxStreams  = 500                   // of all
	eventBatch  = 200
	rowBatch    = 500 // rows of a log in one message
)

type streamQuery struct {
	Topic []string `query:"topic,explode" doc:"what to follow; may be repeated: runs, runs:OWNER/NAME, run:ID, log:ID/JOB/STEP, applications, application:NAMESPACE/NAME, events"`
	Last  string   `header:"Last-Event-ID" maxLength:"200" doc:"id of the last message that was seen: what was missed since is told again"`
	After int64    `query:"after" minimum:"-1" default:"-1" doc:"for the topic events without Last-Event-ID: begin after the event with this number; -1 is with the next one"`
}

// Stream registers /api/v1/stream.
func (a *API) Stream(s StreamSource) {
	op := route("get-stream", http.MethodGet, "/api/v1/stream", "stream", "Follow what changes, as server-sent events", http.StatusNotFound, http.StatusUnprocessableEntity)
	op.Description = "One stream for everything that a page shows. A caller must be allowed to read what each topic names, and is told of nothing else. " +
		"Messages: `run` and `application` hold the new state, `gone` names an application that was deleted, `rows` are rows of a log, `end` is the end of a log, " +
		"`event` is an entry of the event log, `synced` comes when everything at the beginning has been told, `reset` says that something was missed: read the list again. " +
		"`bye` comes before the server ends the stream, with the reason."
	op.Responses = text("text/event-stream")
	open := &streams{callers: map[string]int{}}
	handle(a, op, need{kind: known}, nil, func(ctx context.Context, in *streamQuery) (*huma.StreamResponse, error) {
		t, err := a.newStream(ctx, s, in)
		if err != nil {
			return nil, err
		}
		leave, ok := open.enter(t.caller.Name)
		if !ok {
			t.listener.close()
			return nil, huma.NewError(http.StatusTooManyRequests, fmt.Sprintf("%s has %d streams open, or all have %d", t.caller.Name, perCaller, maxStreams))
		}
		return &huma.StreamResponse{Body: func(hctx huma.Context) {
			defer leave()
			defer t.listener.close()
			t.serve(hctx)
		}}, nil
	})
}

// StreamSource is where streams hear what changes, and read it.
type StreamSource interface {
	Feed() *Feed
	Sources() Sources
}

// streams counts those that are open.
type streams struct {
	mu      sync.Mutex
	all     int
	callers map[string]int
}

func (s *streams) enter(caller string) (leave func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= maxStreams || s.callers[caller] >= perCaller {
		return nil, false
	}
	s.all++
	s.callers[caller]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all--
		if s.callers[caller]--; s.callers[caller] == 0 {
			delete(s.callers, caller)
		}
	}, true
}

// stream is one client's.
type stream struct {
	api      *API
	caller   identity.Principal
	from     Sources
	listener *listener
	topics   []topic
	logs     []topic
	at       position
	missed   bool // what the client has missed is not known
	resumed  bool
	out      *sseWriter
}

// newStream checks what the caller wants to follow.
func (a *API) newStream(ctx context.Context, s StreamSource, in *streamQuery) (*stream, error) {
	p, _ := Caller(ctx)
	t := &stream{api: a, caller: p, from: s.Sources()}
	var err error
	if t.topics, err = parseTopics(in.Topic); err != nil {
		return nil, err
	}
	for _, topic := range t.topics {
		if err := t.check(ctx, topic); err != nil {
			return nil, err
		}
		if topic.kind == "log" {
			t.logs = append(t.logs, topic)
		}
	}
	feed := s.Feed()
	t.at = position{epoch: feed.epoch, event: in.After, rows: make([]int64, len(t.logs))}
	if in.Last != "" {
		last, err := parsePosition(in.Last)
		if err != nil {
			return nil, err
		}
		t.resumed = true
		t.at.event = last.event
		if len(last.rows) == len(t.logs) {
			t.at.rows = last.rows
		}
		t.listener = feed.listen()
		t.missed = !t.listener.since(last.epoch, last.seq)
		t.at.seq = last.seq
	} else {
		t.listener = feed.listen()
	}
	if !t.resumed || t.missed {
		t.at.seq = t.listener.from
	}
	if t.at.event < 0 && t.follows("events") {
		if t.at.event, err = t.from.Events.Last(ctx); err != nil {
			t.listener.close()
			return nil, err
		}
	}
	t.at.event = max(t.at.event, 0)
	return t, nil
}

func (t *stream) follows(kind string) bool {
	return slices.ContainsFunc(t.topics, func(tp topic) bool { return tp.kind == kind })
}

// check says whether the caller may follow a topic. Lists may be followed by
// everybody: each hears of what they may see.
func (t *stream) check(ctx context.Context, tp topic) error {
	served := map[string]bool{
		"runs": t.from.Runs != nil, "run": t.from.Runs != nil, "log": t.from.Runs != nil,
		"applications": t.from.Applications != nil, "application": t.from.Applications != nil, "events": t.from.Events != nil,
	}[tp.kind]
	if !served {
		return fmt.Errorf("topic %s: %w", tp.text, problem.ErrNotFound)
	}
	switch tp.kind {
	case "run", "log":
		r, err := t.from.Runs.Get(ctx, tp.run)
		if err != nil {
			return err
		}
		resource := "runs"
		if tp.kind == "log" {
			resource = "runs/log"
		}
		return t.hide(ctx, identity.Action{Verb: "get", Resource: resource, Project: owner(r.Repo)})
	case "runs":
		if tp.key == "" {
			return nil
		}
		return t.api.auth.Allow(ctx, t.caller, identity.Action{Verb: "list", Resource: "runs", Project: owner(tp.key)})
	case "application":
		return t.api.auth.Allow(ctx, t.caller, appAction("get", tp.key))
	}
	return nil
}

// hide tells a caller who may not that there is nothing.
func (t *stream) hide(ctx context.Context, a identity.Action) error {
	err := t.api.auth.Allow(ctx, t.caller, a)
	if err == nil || unavailable(err) || !errors.Is(err, problem.ErrForbidden) {
		return err
	}
	return notThere{}
}

// may says whether the caller hears of something. Nobody is left to guess
// when the cluster cannot be asked: that ends the stream.
func (t *stream) may(ctx context.Context, a identity.Action) (bool, error) {
	err := t.api.auth.Allow(ctx, t.caller, a)
	if err == nil {
		return true, nil
	}
	if unavailable(err) {
		return false, err
	}
	return false, nil
}

// serve writes the stream until the client leaves or may not go on.
func (t *stream) serve(hctx huma.Context) {
	hctx.SetHeader("Content-Type", "text/event-stream")
	hctx.SetHeader("Cache-Control", "no-store")
	hctx.SetHeader("X-Accel-Buffering", "no")
	hctx.SetHeader("X-Content-Type-Options", "nosniff")
	ctx, cancel := context.WithCancel(hctx.Context())
	var reading sync.WaitGroup
	defer reading.Wait()
	defer cancel()
	t.out = newSSEWriter(hctx.BodyWriter())
	rows := make(chan logRows)
	for i, tp := range t.logs {
		reading.Go(func() { t.readLog(ctx, i, tp, rows) })
	}
	err := t.run(ctx, rows)
	if err != nil && ctx.Err() == nil && !errors.Is(err, errGone) {
		_ = t.out.message("", "bye", map[string]string{"reason": err.Error()})
	}
}

// run tells the client what there is to tell, again and again.
func (t *stream) run(ctx context.Context, rows <-chan logRows) error {
	if err := t.begin(ctx); err != nil {
		return err
	}
	ping := time.NewTicker(streamPing)
	defer ping.Stop()
	for {
		if err := t.look(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ping.C:
			// A session that has ended ends its stream, too.
			if _, err := t.api.auth.Authenticate(requestOf(ctx).http); err != nil {
				return err
			}
			if err := t.out.comment("ping"); err != nil {
				return err
			}
		case r := <-rows:
			if err := t.tellRows(r); err != nil {
				return err
			}
		case <-t.listener.wake:
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(streamRest):
			}
		}
	}
}
