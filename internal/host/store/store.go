// Package store keeps what must survive: CI runs, tokens, the event log. It is
// SQL behind one small interface: rooms bring their tables as migrations and
// their statements as functions over a transaction. The same statements run on
// SQLite, a file beside the server, and on PostgreSQL; what rooms must know to
// write such statements is in the file portable.go.
//
// There is one writer. [DB.Write] is serialised and durable when it returns;
// reads run beside it and see the last committed state. An event is appended
// in the transaction of the state it records, see [Append].
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Tx is what a function passed to [DB.Write] may do.
type Tx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	Queryer
}

// Queryer is what a function passed to [DB.Read] may do.
type Queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// DB is an open store. Its methods may be called from any goroutine.
type DB struct {
	write   *sql.DB // one connection
	read    *sql.DB // several, query-only
	dialect dialect
	limit   time.Duration // of one statement
	age     time.Duration // of one batch

	turn    chan struct{}  // holds a token while somebody writes
	waiting atomic.Int64   // how many want to
	commits atomic.Int64   // made
	open    *batch         // the transaction under way; belongs to whoever has the turn
	late    sync.WaitGroup // turns of writers that have given up
}

// dialect is what the two databases do not share.
type dialect struct {
	statement func(string) string // as this database wants it
	schema    func(string) string // likewise, for a migration
	snapshot  *sql.TxOptions      // of a read
	unlimited string              // lifts the server's own time limit for one transaction
	remote    bool                // connections can break
}

// statementLimit is how long one statement may take, and half of what one
// transaction may. Migrations have [migrationLimit].
const (
	statementLimit = 30 * time.Second
	migrationLimit = 2 * time.Hour
)

// readers is how many reads there are at a time; others wait.
const readers = 4

// Open opens the store at where, the path of an SQLite file, which is created
// when absent, or the URL of a PostgreSQL database ("postgres://...").
func Open(ctx context.Context, where string) (*DB, error) {
	open := openSQLite
	if IsPostgres(where) {
		open = openPostgres
	}
	db, err := open(ctx, where)
	if err != nil {
		return nil, err
	}
	db.turn = make(chan struct{}, 1)
	db.limit, db.age = statementLimit, maxBatchAge
	if err := db.Migrate(ctx, "store", migrations); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// IsPostgres says whether where is the URL of a PostgreSQL database.
func IsPostgres(where string) bool {
	return strings.HasPrefix(where, "postgres://") || strings.HasPrefix(where, "postgresql://")
}

// Close closes the store. Nothing may be using it.
func (db *DB) Close() error {
	db.late.Wait()
	return errors.Join(db.read.Close(), db.write.Close())
}

// Read runs fn over one consistent state. fn must not keep q, and reads what
// one query found to its end before it asks the next.
func (db *DB) Read(ctx context.Context, fn func(q Queryer) error) error {
	return db.readWithin(ctx, db.limit, fn)
}

func (db *DB) readWithin(ctx context.Context, limit time.Duration, fn func(q Queryer) error) error {
	tx, err := db.begin(ctx, db.read, db.dialect.snapshot)
	if err != nil {
		return fmt.Errorf("begin read: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	s := session{tx: tx, db: db, limit: limit}
	defer s.end()
	return fn(&s)
}

// begin begins a transaction. After a restart of the database's server, all
// connections of the pool may be broken, of which only their use tells.
func (db *DB) begin(ctx context.Context, pool *sql.DB, o *sql.TxOptions) (*sql.Tx, error) {
	for n := 0; ; n++ {
		tx, err := pool.BeginTx(ctx, o)
		if err == nil || !db.dialect.remote || n == readers || ctx.Err() != nil || errors.Is(err, ErrInUse) {
			return tx, err
		}
	}
}

// timeFormat sorts as text in order of time.
const timeFormat = "2006-01-02T15:04:05.000000000Z"

// FormatTime gives the text under which rooms store a time: UTC, nanoseconds,
// ordered as text. The zero time is "".
func FormatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(timeFormat)
}

// ParseTime reads what [FormatTime] wrote.
func ParseTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	return time.Parse(timeFormat, s)
}
