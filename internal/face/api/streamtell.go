package api

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/ci/runs"
	"github.com/penstock-dev/penstock/internal/host/identity"
)

// begin tells the state of single things, and that lists may have changed when
// nobody knows whether they have.
func (t *stream) begin(ctx context.Context) error {
	for _, tp := range t.topics {
		var err error
		switch {
		case tp.kind == "run" && (!t.resumed || t.missed):
			err = t.tellRun(ctx, strconv.FormatInt(tp.run, 10), tp)
		case tp.kind == "application" && (!t.resumed || t.missed):
			err = t.tellApplication(ctx, tp.key, tp)
		case t.missed && (tp.kind == "runs" || tp.kind == "applications"):
			err = t.tell("reset", map[string]string{"topic": tp.text})
		}
		if err != nil {
			return err
		}
	}
	if err := t.look(ctx); err != nil {
		return err
	}
	return t.tell("synced", struct{}{})
}

// look tells what has changed since the last look.
func (t *stream) look(ctx context.Context) error {
	list, seq, lost := t.listener.take()
	if lost {
		t.at.seq = seq
		for _, tp := range t.topics {
			var err error
			switch tp.kind {
			case "runs", "applications":
				err = t.tell("reset", map[string]string{"topic": tp.text})
			case "run":
				err = t.tellRun(ctx, strconv.FormatInt(tp.run, 10), tp)
			case "application":
				err = t.tellApplication(ctx, tp.key, tp)
			}
			if err != nil {
				return err
			}
		}
	}
	for _, c := range list {
		var err error
		switch c.kind {
		case KindRun:
			err = t.tellRun(ctx, c.key, t.topics...)
		case KindApplication:
			err = t.tellApplication(ctx, c.key, t.topics...)
		}
		if err != nil {
			return err
		}
	}
	// Only now has the client heard everything up to here.
	t.at.seq = seq
	if t.follows("events") {
		return t.tellEvents(ctx)
	}
	return nil
}

// tell writes a message with the position up to which the client knows all.
func (t *stream) tell(event string, data any) error {
	return t.out.message(t.at.String(), event, data)
}

// runMessage is a run's new state.
type runMessage struct {
	Topic string   `json:"topic"`
	Run   runs.Run `json:"run"`
}

// tellRun tells those of topics that a run is of its state.
func (t *stream) tellRun(ctx context.Context, key string, topics ...topic) error {
	n, ok := runNumber(key)
	wanted := func(tp topic) bool { return tp.kind == "runs" || tp.kind == "run" && tp.run == n }
	if !ok || !slices.ContainsFunc(topics, wanted) {
		return nil
	}
	r, err := t.from.Runs.Get(ctx, n)
	if errors.Is(err, problem.ErrNotFound) {
		return nil // removed since
	}
	if err != nil {
		return err
	}
	may, err := t.may(ctx, identity.Action{Verb: "get", Resource: "runs", Project: owner(r.Repo)})
	if err != nil || !may {
		return err
	}
	for _, tp := range topics {
		m := runMessage{tp.text, r}
		switch {
		case tp.kind == "run" && tp.run == n:
		case tp.kind == "runs" && (tp.key == "" || tp.key == r.Repo):
			m.Run.Jobs = nil // as in the list
		default:
			continue
		}
		if err := t.tell("run", m); err != nil {
			return err
		}
	}
	return nil
}

// appMessage is an application's new state.
type appMessage struct {
	Topic       string       `json:"topic"`
	Application *Application `json:"application,omitempty"`
	Namespace   string       `json:"namespace"`
	Name        string       `json:"name"`
}

// tellApplication tells those of topics that an application is of its state.
func (t *stream) tellApplication(ctx context.Context, key string, topics ...topic) error {
	wanted := func(tp topic) bool {
		return tp.kind == "applications" || tp.kind == "application" && tp.key == key
	}
	if !slices.ContainsFunc(topics, wanted) {
		return nil
	}
	act := appAction("get", key)
	may, err := t.may(ctx, act)
	if err != nil || !may {
		return err
	}
	app, err := t.from.Applications.Get(ctx, t.caller, act.Project, act.Name)
	gone := errors.Is(err, problem.ErrNotFound)
	switch {
	case errors.Is(err, problem.ErrForbidden):
		return nil // the cluster knows better
	case err != nil && !gone:
		return err
	}
	for _, tp := range topics {
		if tp.kind != "applications" && (tp.kind != "application" || tp.key != key) {
			continue
		}
		m := appMessage{Topic: tp.text, Namespace: act.Project, Name: act.Name}
		event := "gone"
		if !gone {
			event = "application"
			shown := app
			if tp.kind == "applications" {
				shown.Resources = nil // as in the list
			}
			m.Application = &shown
		}
		if err := t.tell(event, m); err != nil {
			return err
		}
	}
	return nil
}

// eventMessage is an entry of the event log.
type eventMessage struct {
	Topic string `json:"topic"`
	Event Event  `json:"event"`
}

func (t *stream) tellEvents(ctx context.Context) error {
	for {
		some, err := t.from.Events.List(ctx, EventQuery{After: t.at.event, Limit: eventBatch})
		if err != nil {
			return err
		}
		for _, e := range some {
			t.at.event = e.Seq
			may, err := t.may(ctx, identity.Action{Verb: "list", Resource: "events", Project: e.Project})
			if err != nil {
				return err
			}
			if !may {
				continue
			}
			if err := t.tell("event", eventMessage{"events", e}); err != nil {
				return err
			}
		}
		if len(some) < eventBatch {
			return nil
		}
	}
}
