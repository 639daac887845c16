package replay_test

import (
	"errors"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/replay"
	"github.com/penstock-dev/penstock/internal/host/store"
	"github.com/penstock-dev/penstock/internal/host/store/storetest"
)

func TestOnPostgres(t *testing.T) { storetest.Again(t, "^TestAnAnswer") }

func TestAnAnswerIsKeptForADay(t *testing.T) {
	ctx := t.Context()
	where, err := storetest.Where(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(ctx, where)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	open := func() *replay.Store {
		t.Helper()
		s, err := replay.New(ctx, db, func() time.Time { return now })
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	claim := func(digest string, want error) *replay.Reply {
		t.Helper()
		r, err := s.Claim(ctx, "ann", "k", digest)
		if !errors.Is(err, want) {
			t.Fatalf("%v, want %v", err, want)
		}
		return r
	}
	if r := claim("a", nil); r != nil {
		t.Errorf("the first time: %+v", r)
	}
	claim("a", problem.ErrExists)
	claim("b", problem.ErrInvalid)
	s = open() // the server that was answering has died
	if r := claim("a", nil); r != nil {
		t.Errorf("after a crash: %+v", r)
	}
	if err := s.Keep(ctx, "ann", "k", nil); err != nil {
		t.Fatal(err)
	}
	claim("a", nil)
	if err := s.Keep(ctx, "ann", "k", &replay.Reply{Status: 201, ContentType: "x/y", Body: []byte("hello")}); err != nil {
		t.Fatal(err)
	}
	s = open()
	if r := claim("a", nil); r == nil || r.Status != 201 || r.ContentType != "x/y" || string(r.Body) != "hello" {
		t.Errorf("again: %+v", r)
	}
	claim("b", problem.ErrInvalid)
	now = now.Add(25 * time.Hour)
	if r := claim("b", nil); r != nil {
		t.Errorf("a day later: %+v", r)
	}
}
