// Package store keeps what must survive: CI runs, tokens, the event log. It is
// SQL behind one small interface: rooms bring their tables as migrations and
// their statements as functions over a transaction.
//
// There is one writer. [DB.Write] is serialised and durable when it returns
// (full sync); reads run beside it and see the last committed state. An event
// is appended in the transaction of the state it records, see [Append].
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"time"

	_ "modernc.org/sqlite" // SQLite without CGO
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
	write *sql.DB // one connection
	read  *sql.DB // several, query-only
	mu    sync.Mutex
}

// Open opens the SQLite database at path and creates it when absent. The
// directory must exist.
func Open(ctx context.Context, path string) (*DB, error) {
	// SQLite would create it readable by all; its companions copy the mode.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	f.Close()
	open := func(query url.Values, conns int) (*sql.DB, error) {
		query.Add("_pragma", "busy_timeout(10000)")
		query.Add("_pragma", "foreign_keys(1)")
		db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+query.Encode())
		if err != nil {
			return nil, err
		}
		db.SetMaxOpenConns(conns)
		db.SetConnMaxIdleTime(0)
		return db, db.PingContext(ctx)
	}
	w, err := open(url.Values{"_pragma": {"journal_mode(WAL)", "synchronous(FULL)"}, "_txlock": {"immediate"}}, 1)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	r, err := open(url.Values{"_pragma": {"query_only(1)"}}, 4)
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	db := &DB{write: w, read: r}
	if err := db.Migrate(ctx, "store", migrations); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// Close closes the store. Nothing may be using it.
func (db *DB) Close() error { return errors.Join(db.read.Close(), db.write.Close()) }

// Write runs fn in the one writing transaction and commits when it returns
// nil. The commit is on the disk when Write returns nil. fn must not keep tx,
// must not wait for anything else and must read what it depends on through tx.
func (db *DB) Write(ctx context.Context, fn func(tx Tx) error) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it is a no-op, before it the first error counts
	if err := fn(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// Read runs fn over one consistent state. fn must not keep q.
func (db *DB) Read(ctx context.Context, fn func(q Queryer) error) error {
	tx, err := db.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("begin read: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	return fn(tx)
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
