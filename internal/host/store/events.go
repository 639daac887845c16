package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/base/event"
)

// Event is one entry of the append-only event log.
type Event struct {
	Seq     int64 // order in the log, set by Append
	ID      string
	Type    string // one of the base/event types
	Subject string // what it is about: "owner/name" of a repository, a run
	Time    time.Time
	Data    json.RawMessage
}

// Append records an event inside the transaction of the state it is about. The
// same ID is recorded once: a second Append changes nothing and says false. The
// ID is made of the object, its generation and the transition (package id), so
// that seeing a transition again gives the same one.
func Append(ctx context.Context, tx Tx, id, typ, subject string, at time.Time, data any) (added bool, err error) {
	b, err := json.Marshal(data)
	if err != nil {
		return false, fmt.Errorf("encode event %s: %w", typ, err)
	}
	res, err := tx.ExecContext(ctx, `INSERT INTO events (id, type, subject, time, data) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (id) DO NOTHING`, id, typ, subject, FormatTime(at), string(b))
	if err != nil {
		return false, fmt.Errorf("append event %s: %w", typ, err)
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

// Entry is the event as package event renders it.
func (e Event) Entry() event.Entry {
	return event.Entry{ID: e.ID, Type: e.Type, Time: e.Time, Data: e.Data}
}

// EventFilter says which events are wanted. The zero value wants all.
type EventFilter struct {
	Types        []string  // one of these
	Subject      string    // about this
	Since, Until time.Time // that happened then; Until itself is not part of it
}

// EventsAfter returns up to limit events of type typ (any type when empty)
// that come after seq, oldest first.
func EventsAfter(ctx context.Context, q Queryer, typ string, seq int64, limit int) ([]Event, error) {
	var f EventFilter
	if typ != "" {
		f.Types = []string{typ}
	}
	return Events(ctx, q, f, seq, limit)
}

// Events returns up to limit events that f wants and that come after seq,
// oldest first. The Seq of the last one is where to go on.
func Events(ctx context.Context, q Queryer, f EventFilter, seq int64, limit int) ([]Event, error) {
	return readEvents(ctx, q, f, "seq > ?", "seq", seq, limit)
}

// EventsBefore returns up to limit events that f wants and that come before
// seq, newest first. The Seq of the last one is where to go on; math.MaxInt64
// is where to begin.
func EventsBefore(ctx context.Context, q Queryer, f EventFilter, seq int64, limit int) ([]Event, error) {
	return readEvents(ctx, q, f, "seq < ?", "seq DESC", seq, limit)
}

func readEvents(ctx context.Context, q Queryer, f EventFilter, place, order string, seq int64, limit int) ([]Event, error) {
	query := `SELECT seq, id, type, subject, time, data FROM events WHERE ` + place
	args := []any{seq}
	and := func(condition string, values ...any) {
		query += " AND " + condition
		args = append(args, values...)
	}
	if len(f.Types) > 0 {
		types := make([]any, len(f.Types))
		for i, t := range f.Types {
			types[i] = t
		}
		and("type IN (?"+strings.Repeat(", ?", len(types)-1)+")", types...)
	}
	if f.Subject != "" {
		and("subject = ?", f.Subject)
	}
	if !f.Since.IsZero() {
		and("time >= ?", FormatTime(f.Since))
	}
	if !f.Until.IsZero() {
		and("time < ?", FormatTime(f.Until))
	}
	rows, err := q.QueryContext(ctx, query+` ORDER BY `+order+` LIMIT ?`, append(args, limit)...)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	defer rows.Close()
	var out []Event
	for rows.Next() {
		var e Event
		var at, data string
		if err := rows.Scan(&e.Seq, &e.ID, &e.Type, &e.Subject, &at, &data); err != nil {
			return nil, fmt.Errorf("read event: %w", err)
		}
		if e.Time, err = ParseTime(at); err != nil {
			return nil, fmt.Errorf("read event %s: %w", e.ID, err)
		}
		e.Data = json.RawMessage(data)
		out = append(out, e)
	}
	return out, rows.Err()
}

// Cursor returns how far consumer has read the log: the Seq given to the last
// [SetCursor], 0 before the first.
func Cursor(ctx context.Context, q Queryer, consumer string) (int64, error) {
	var seq int64
	err := q.QueryRowContext(ctx, `SELECT seq FROM cursors WHERE consumer = ?`, consumer).Scan(&seq)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return seq, err
}

// SetCursor records that consumer has dealt with everything up to seq. Done in
// the transaction of the consumer's own writes, an event has its effect once.
func SetCursor(ctx context.Context, tx Tx, consumer string, seq int64) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO cursors VALUES (?, ?)
		ON CONFLICT (consumer) DO UPDATE SET seq = excluded.seq`, consumer, seq)
	return err
}
