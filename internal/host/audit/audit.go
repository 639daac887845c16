// Package audit keeps who wrote what, when, and how it ended. Entries are only
// added.
//
// The face that takes a request begins an entry, see [Log.Begin]; the room
// that carries it out calls [Record] in the transaction of its write, so that
// there is no write without its entry; the face ends the entry with the
// outcome. A room that does not know of audit is covered by the face alone.
package audit

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/penstock-dev/penstock/internal/base/id"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// Outcomes of what was tried.
const (
	Succeeded = "succeeded"
	Refused   = "refused" // not allowed
	Failed    = "failed"
)

// Entry is one write.
type Entry struct {
	Seq       int64     `json:"seq" doc:"order in the log"`
	ID        string    `json:"id"`
	Time      time.Time `json:"time"`
	Actor     string    `json:"actor" doc:"who"`
	Via       string    `json:"via" doc:"how they were known: admin-token, token/ID, session/ID"`
	Remote    string    `json:"remote,omitempty" doc:"address"`
	Request   string    `json:"request,omitempty" doc:"id of the request, as in its answer's X-Request-Id"`
	Operation string    `json:"operation" doc:"what, as the API names it"`
	Verb      string    `json:"verb,omitempty"`
	Resource  string    `json:"resource,omitempty"`
	Project   string    `json:"project,omitempty"`
	Name      string    `json:"name,omitempty"`
	Outcome   string    `json:"outcome" enum:"succeeded,refused,failed"`
	Status    int       `json:"status,omitempty" doc:"of the answer"`
	Detail    string    `json:"detail,omitempty" doc:"why it was refused or failed"`
}

var migrations = []string{
	`CREATE TABLE audit (
		seq       INTEGER PRIMARY KEY AUTOINCREMENT,
		id        TEXT NOT NULL UNIQUE,
		time      TEXT NOT NULL,
		actor     TEXT NOT NULL,
		via       TEXT NOT NULL,
		remote    TEXT NOT NULL,
		request   TEXT NOT NULL,
		operation TEXT NOT NULL,
		verb      TEXT NOT NULL,
		resource  TEXT NOT NULL,
		project   TEXT NOT NULL,
		name      TEXT NOT NULL,
		outcome   TEXT NOT NULL,
		status    INTEGER NOT NULL,
		detail    TEXT NOT NULL
	) STRICT;
	CREATE INDEX audit_by_actor ON audit (actor, seq);
	CREATE INDEX audit_by_project ON audit (project, seq);`,
}

// Prepare makes the tables. Every room that records calls it first.
func Prepare(ctx context.Context, db *store.DB) error { return db.Migrate(ctx, "audit", migrations) }

// Log is the audit log.
type Log struct {
	db  *store.DB
	now func() time.Time
}

// New prepares the log. now may be nil for the real time.
func New(ctx context.Context, db *store.DB, now func() time.Time) (*Log, error) {
	if now == nil {
		now = time.Now
	}
	return &Log{db, now}, Prepare(ctx, db)
}

// maxText bounds what an entry keeps of a text from outside.
const maxText = 500

// pending is the entry of the request that a context belongs to.
type pending struct {
	mu       sync.Mutex
	e        Entry
	recorded bool // by a room, in a transaction that may have failed
}

type key struct{}

// Begin starts the entry of a write and returns the context to carry it out
// with. e says who and what.
func (l *Log) Begin(ctx context.Context, e Entry) context.Context {
	e.ID, e.Time, e.Outcome = id.New(), l.now().UTC(), Succeeded
	return context.WithValue(ctx, key{}, &pending{e: e})
}

func from(ctx context.Context) *pending {
	p, _ := ctx.Value(key{}).(*pending)
	return p
}

// Actor says who it is, where that is known only later: somebody logs in.
func Actor(ctx context.Context, actor, via string) {
	if p := from(ctx); p != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.e.Actor, p.e.Via = actor, via
	}
}

// About says what the entry is about, where that is known only later.
func About(ctx context.Context, project, name string) {
	if p := from(ctx); p != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.e.Project, p.e.Name = project, name
	}
}

// Record writes the entry of ctx, as succeeded, in the transaction that
// carries it out. Without an entry in ctx it does nothing: somebody within
// Penstock writes, not a user.
func Record(ctx context.Context, tx store.Tx) error {
	p := from(ctx)
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := Append(ctx, tx, p.e); err != nil {
		return err
	}
	p.recorded = true
	return nil
}

// End ends the entry of ctx. What a room recorded stays; it is changed when
// the whole did not succeed after all.
func (l *Log) End(ctx context.Context, outcome string, status int, detail string) error {
	p := from(ctx)
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.recorded && outcome == Succeeded {
		return nil
	}
	p.e.Outcome, p.e.Status, p.e.Detail = outcome, status, detail
	// The client may have gone; what was done is recorded all the same.
	ctx = context.WithoutCancel(ctx)
	return l.db.Write(ctx, func(tx store.Tx) error {
		if err := Append(ctx, tx, p.e); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE audit SET outcome = $1, status = $2, detail = $3 WHERE id = $4`,
			p.e.Outcome, p.e.Status, clip(p.e.Detail), p.e.ID)
		return err
	})
}

// Append writes an entry once, in the transaction of what it is about.
func Append(ctx context.Context, tx store.Tx, e Entry) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO audit (id, time, actor, via, remote, request, operation, verb, resource, project, name, outcome, status, detail)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT (id) DO NOTHING`,
		e.ID, store.FormatTime(e.Time), clip(e.Actor), e.Via, e.Remote, e.Request, e.Operation, e.Verb, e.Resource, clip(e.Project), clip(e.Name), e.Outcome, e.Status, clip(e.Detail))
	if err != nil {
		return fmt.Errorf("record in the audit log: %w", err)
	}
	return nil
}

func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	r := []rune(s[:maxText])
	return string(r[:len(r)-1]) + "…"
}

// Query chooses entries. Empty fields choose all.
type Query struct {
	Actor, Project, Resource, Outcome string
	Before                            int64 // only entries before the one with this Seq; 0 is from the newest
	Limit                             int
}

// List returns entries, newest first.
func (l *Log) List(ctx context.Context, q Query) ([]Entry, error) {
	all := []Entry{}
	if q.Before == 0 {
		q.Before = math.MaxInt64
	}
	err := l.db.Read(ctx, func(r store.Queryer) error {
		rows, err := r.QueryContext(ctx, `SELECT seq, id, time, actor, via, remote, request, operation, verb, resource, project, name, outcome, status, detail
			FROM audit WHERE ($1 = '' OR actor = $1) AND ($2 = '' OR project = $2) AND ($3 = '' OR resource = $3) AND ($4 = '' OR outcome = $4)
			AND seq < $5 ORDER BY seq DESC LIMIT $6`, q.Actor, q.Project, q.Resource, q.Outcome, q.Before, q.Limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var e Entry
			var at string
			err := rows.Scan(&e.Seq, &e.ID, &at, &e.Actor, &e.Via, &e.Remote, &e.Request, &e.Operation, &e.Verb, &e.Resource, &e.Project, &e.Name, &e.Outcome, &e.Status, &e.Detail)
			if err != nil {
				return err
			}
			if e.Time, err = store.ParseTime(at); err != nil {
				return err
			}
			all = append(all, e)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("read the audit log: %w", err)
	}
	return all, nil
}
