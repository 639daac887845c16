// Package replay keeps the answers to requests that carry an idempotency key,
// so that a repetition gets the same answer and nothing happens twice.
package replay

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// Reply is an answer as it is kept.
type Reply struct {
	Status      int
	ContentType string
	Body        []byte
}

const (
	// keep is how long an answer is kept.
	keep = 24 * time.Hour
	// maxKeys of one user, so that nobody fills the store.
	maxKeys = 10_000
)

var migrations = []string{
	`CREATE TABLE replays (
		owner   TEXT NOT NULL, -- name of the user
		key     TEXT NOT NULL,
		digest  TEXT NOT NULL, -- of the request
		status  INTEGER NOT NULL, -- 0 while it is being answered
		type    TEXT NOT NULL,
		body    TEXT NOT NULL,
		expires TEXT NOT NULL,
		PRIMARY KEY (owner, key)
	) STRICT;
	CREATE INDEX replays_by_expiry ON replays (expires);`,
}

// Store keeps the answers.
type Store struct {
	db  *store.DB
	now func() time.Time
}

// New opens the store. Requests that were being answered when the last server
// ended were not answered: their keys are free. now may be nil for the real
// time.
func New(ctx context.Context, db *store.DB, now func() time.Time) (*Store, error) {
	if now == nil {
		now = time.Now
	}
	if err := db.Migrate(ctx, "replay", migrations); err != nil {
		return nil, err
	}
	err := db.Write(ctx, func(tx store.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM replays WHERE status = 0`)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("free idempotency keys: %w", err)
	}
	return &Store{db, now}, nil
}

// Claim takes a key of a user for the request with this digest. It returns the
// answer when the request was answered before; an error that wraps
// problem.ErrExists while it is being answered, and problem.ErrInvalid when the
// key belongs to another request.
func (s *Store) Claim(ctx context.Context, user, key, digest string) (*Reply, error) {
	var reply *Reply
	err := s.db.Write(ctx, func(tx store.Tx) error {
		reply = nil
		now := s.now()
		if _, err := tx.ExecContext(ctx, `DELETE FROM replays WHERE expires <= $1`, store.FormatTime(now)); err != nil {
			return err
		}
		var r Reply
		var of, body string
		err := tx.QueryRowContext(ctx, `SELECT digest, status, type, body FROM replays WHERE owner = $1 AND key = $2`, user, key).Scan(&of, &r.Status, &r.ContentType, &body)
		switch {
		case errors.Is(err, sql.ErrNoRows):
		case err != nil:
			return err
		case of != digest:
			return problem.ErrInvalid
		case r.Status == 0:
			return problem.ErrExists
		default:
			r.Body = []byte(body)
			reply = &r
			return nil
		}
		var have int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM replays WHERE owner = $1`, user).Scan(&have); err != nil {
			return err
		}
		if have >= maxKeys {
			return fmt.Errorf("%s has used %d keys within a day", user, have)
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO replays (owner, key, digest, status, type, body, expires) VALUES ($1, $2, $3, 0, '', '', $4)`,
			user, key, digest, store.FormatTime(now.Add(keep)))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("idempotency key: %w", err)
	}
	return reply, nil
}

// Keep stores the answer, or gives the key back when reply is nil.
func (s *Store) Keep(ctx context.Context, user, key string, reply *Reply) error {
	err := s.db.Write(ctx, func(tx store.Tx) error {
		if reply == nil {
			_, err := tx.ExecContext(ctx, `DELETE FROM replays WHERE owner = $1 AND key = $2 AND status = 0`, user, key)
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE replays SET status = $1, type = $2, body = $3 WHERE owner = $4 AND key = $5`,
			reply.Status, reply.ContentType, string(reply.Body), user, key)
		return err
	})
	if err != nil {
		return fmt.Errorf("keep the answer: %w", err)
	}
	return nil
}
