package store

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"

	_ "modernc.org/sqlite" // SQLite without CGO
)

// openSQLite opens the database at path and creates it when absent. The
// directory must exist.
func openSQLite(ctx context.Context, path string) (*DB, error) {
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
	// In WAL mode, synchronous(FULL) syncs the log at every commit.
	w, err := open(url.Values{"_pragma": {"journal_mode(WAL)", "synchronous(FULL)"}, "_txlock": {"immediate"}}, 1)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	r, err := open(url.Values{"_pragma": {"query_only(1)"}}, readers)
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	same := func(s string) string { return s }
	return &DB{write: w, read: r, dialect: dialect{statement: same, schema: same, snapshot: &sql.TxOptions{ReadOnly: true}}}, nil
}
