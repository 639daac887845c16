package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/penstock-dev/penstock/internal/base/id"
)

// migrations of the store's own tables.
var migrations = []string{
	`CREATE TABLE events (
		seq     INTEGER PRIMARY KEY AUTOINCREMENT,
		id      TEXT NOT NULL UNIQUE,
		type    TEXT NOT NULL,
		subject TEXT NOT NULL,
		time    TEXT NOT NULL,
		data    TEXT NOT NULL
	) STRICT;
	CREATE INDEX events_by_type ON events (type, seq);
	CREATE INDEX events_by_subject ON events (subject, seq);
	CREATE TABLE cursors (
		consumer TEXT PRIMARY KEY,
		seq      INTEGER NOT NULL
	) STRICT;`,

	// The types of events are CDEvents' since then.
	`UPDATE events SET type = 'dev.cdeventsx.penstock-push.received.0.1.0' WHERE type = 'dev.penstock.git.push';
	UPDATE events SET type = 'dev.cdevents.pipelinerun.finished.0.3.0' WHERE type = 'dev.penstock.ci.run.finished';`,

	// One row at most, see Bind.
	`CREATE TABLE store_name (id TEXT PRIMARY KEY) STRICT;`,
}

// Migrate brings the tables of room up to date: each statement list runs once,
// in order, in a transaction of its own. A list that was released is never
// edited; a database written by a newer version, or with other lists, is
// refused untouched.
func (db *DB) Migrate(ctx context.Context, room string, lists []string) error {
	err := db.Write(ctx, func(tx Tx) error {
		_, err := tx.ExecContext(ctx, db.dialect.schema(`CREATE TABLE IF NOT EXISTS migrations (
			room TEXT NOT NULL, version INTEGER NOT NULL, digest TEXT NOT NULL,
			PRIMARY KEY (room, version)) STRICT`))
		return err
	})
	if err != nil {
		return fmt.Errorf("prepare migrations: %w", err)
	}
	for i, list := range lists {
		if err := db.migrateOne(ctx, room, i+1, list); err != nil {
			return fmt.Errorf("migrate %s to version %d: %w", room, i+1, err)
		}
	}
	var newest sql.NullInt64
	err = db.Read(ctx, func(q Queryer) error {
		return q.QueryRowContext(ctx, `SELECT max(version) FROM migrations WHERE room = ?`, room).Scan(&newest)
	})
	if err != nil {
		return fmt.Errorf("read version of %s: %w", room, err)
	}
	if int(newest.Int64) > len(lists) {
		return fmt.Errorf("tables of %s are at version %d, this build knows %d: %w", room, newest.Int64, len(lists), ErrNewer)
	}
	return nil
}

// ErrNewer marks a database that a newer version of Penstock wrote.
var ErrNewer = errors.New("written by a newer version of penstock")

func (db *DB) migrateOne(ctx context.Context, room string, version int, list string) error {
	digest := id.Of(list)
	return db.writeWithin(ctx, migrationLimit, func(tx Tx) error {
		var have string
		err := tx.QueryRowContext(ctx, `SELECT digest FROM migrations WHERE room = ? AND version = ?`, room, version).Scan(&have)
		switch {
		case err == nil && have != digest:
			return errors.New("was applied with other statements")
		case err == nil:
			return nil
		case !errors.Is(err, sql.ErrNoRows):
			return err
		}
		if db.dialect.unlimited != "" {
			if _, err := tx.ExecContext(ctx, db.dialect.unlimited); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, db.dialect.schema(list)); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO migrations VALUES (?, ?, ?)`, room, version, digest)
		return err
	})
}
