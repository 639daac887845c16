package secret

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/penstock-dev/penstock/internal/base/failpoint"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/store"
)

var migrations = []string{
	`CREATE TABLE secrets (
		room       TEXT NOT NULL,
		scope      TEXT NOT NULL,
		name       TEXT NOT NULL,
		version    INTEGER NOT NULL,
		key_id     TEXT NOT NULL, -- master key that wraps the data key
		wrapped    BLOB NOT NULL, -- data key
		sealed     BLOB NOT NULL, -- the secret, under the data key
		created_at TEXT NOT NULL,
		PRIMARY KEY (room, scope, name, version)
	) STRICT;
	CREATE INDEX secrets_by_key ON secrets (key_id);`,
}

// keepVersions is how many versions of a secret there are at most.
const keepVersions = 10

// Vault keeps secrets. Its methods may be called from any goroutine.
type Vault struct {
	db   *store.DB
	keys Keys
	now  func() time.Time
	turn chan struct{} // held by the Set that is at work
}

// New makes a Vault over keys that open everything in the store; see [OpenFile].
func New(ctx context.Context, db *store.DB, keys Keys) (*Vault, error) {
	if err := db.Migrate(ctx, "secret", migrations); err != nil {
		return nil, err
	}
	v := &Vault{db: db, keys: keys, now: time.Now, turn: make(chan struct{}, 1)}
	used, err := v.used(ctx)
	if err != nil {
		return nil, err
	}
	for _, id := range used {
		ok, err := keys.Has(ctx, id)
		if err != nil {
			return nil, fmt.Errorf("look for master key %s: %w", id, err)
		}
		if !ok {
			return nil, &problem.Error{Op: "open the secrets in the store", Err: fmt.Errorf("%w: they were sealed with key %s", ErrNoKey, id),
				Hint: "put back the key file from a copy; without that key these secrets are lost and must be set again"}
		}
	}
	return v, nil
}

// used lists the master keys that something is wrapped with.
func (v *Vault) used(ctx context.Context) (ids []string, err error) {
	err = v.db.Read(ctx, func(q store.Queryer) error {
		ids, err = usedKeys(ctx, q)
		return err
	})
	return ids, err
}

func usedKeys(ctx context.Context, q store.Queryer) (ids []string, err error) {
	rows, err := q.QueryContext(ctx, `SELECT DISTINCT key_id FROM secrets ORDER BY key_id`)
	if err != nil {
		return nil, fmt.Errorf("list master keys in use: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// errMoved says that the version or the master key was taken meanwhile.
var errMoved = errors.New("somebody else was faster")

// Set stores a new version of a secret.
func (v *Vault) Set(ctx context.Context, n Name, value Value) (Info, error) {
	if err := n.check(); err != nil {
		return Info{}, err
	}
	if len(value.b) > maxValue {
		return Info{}, fmt.Errorf("secret %s is larger than %d bytes: %w", n, maxValue, problem.ErrInvalid)
	}
	select {
	case v.turn <- struct{}{}:
		defer func() { <-v.turn }()
	case <-ctx.Done():
		return Info{}, fmt.Errorf("set secret %s: %w", n, context.Cause(ctx))
	}
	// Keys may be a service on the network, so they are asked outside of the
	// transaction, for the version that comes next as far as we know.
	for try := 1; ; try++ {
		in, err := v.setOnce(ctx, n, value)
		if errors.Is(err, errMoved) && try < 10 {
			continue
		}
		if err != nil {
			return Info{}, fmt.Errorf("set secret %s: %w", n, err)
		}
		return in, nil
	}
}

func (v *Vault) setOnce(ctx context.Context, n Name, value Value) (Info, error) {
	var last int64
	err := v.db.Read(ctx, func(q store.Queryer) (err error) {
		last, err = newest(ctx, q, n)
		return err
	})
	if err != nil {
		return Info{}, err
	}
	in := Info{Name: n, Version: last + 1, At: v.now().UTC()}
	key := newKey()
	sealed, err := seal(key, value.b, about(n, in.Version))
	if err != nil {
		return Info{}, err
	}
	wrapped, id, err := v.keys.Wrap(ctx, key, about(n, in.Version))
	if err != nil {
		return Info{}, fmt.Errorf("wrap data key: %w", err)
	}
	failpoint.Hit("secret.set.before")
	err = v.db.Write(ctx, func(tx store.Tx) error {
		// A rotation that has begun waits for nobody: after it nothing may be
		// written under the key before.
		if current, err := v.keys.Current(ctx); err != nil || current != id {
			return errors.Join(err, errMoved)
		}
		if have, err := newest(ctx, tx, n); err != nil || have != last {
			return errors.Join(err, errMoved)
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO secrets (room, scope, name, version, key_id, wrapped, sealed, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			n.Room, n.Scope, n.Name, in.Version, id, wrapped, sealed, store.FormatTime(in.At))
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM secrets WHERE room = ? AND scope = ? AND name = ? AND version <= ?`, n.Room, n.Scope, n.Name, in.Version-keepVersions)
		return err
	})
	if err == nil {
		failpoint.Hit("secret.set.after")
	}
	return in, err
}

// newest is the newest version of a secret, 0 when there is none.
func newest(ctx context.Context, q store.Queryer, n Name) (version int64, err error) {
	err = q.QueryRowContext(ctx, `SELECT coalesce(max(version), 0) FROM secrets WHERE room = ? AND scope = ? AND name = ?`, n.Room, n.Scope, n.Name).Scan(&version)
	return version, err
}

// Get returns a version of a secret, the newest when version is 0. The error
// wraps [problem.ErrNotFound] when there is none.
func (v *Vault) Get(ctx context.Context, n Name, version int64) (Value, Info, error) {
	if err := n.check(); err != nil {
		return Value{}, Info{}, err
	}
	in := Info{Name: n, Version: version}
	var id, at string
	var wrapped, sealed []byte
	err := v.db.Read(ctx, func(q store.Queryer) (err error) {
		if version == 0 {
			if in.Version, err = newest(ctx, q, n); err != nil {
				return err
			}
		}
		return q.QueryRowContext(ctx, `SELECT key_id, wrapped, sealed, created_at FROM secrets WHERE room = ? AND scope = ? AND name = ? AND version = ?`,
			n.Room, n.Scope, n.Name, in.Version).Scan(&id, &wrapped, &sealed, &at)
	})
	if errors.Is(err, sql.ErrNoRows) {
		err = problem.ErrNotFound
	}
	var text []byte
	if err == nil {
		in.At, err = store.ParseTime(at)
	}
	if err == nil {
		text, err = v.open(ctx, in, id, wrapped, sealed)
	}
	if err != nil {
		return Value{}, Info{}, fmt.Errorf("get secret %s: %w", n, err)
	}
	return Value{text}, in, nil
}

func (v *Vault) open(ctx context.Context, in Info, id string, wrapped, sealed []byte) ([]byte, error) {
	key, err := v.keys.Unwrap(ctx, wrapped, id, about(in.Name, in.Version))
	if err != nil {
		return nil, fmt.Errorf("unwrap data key: %w", err)
	}
	return open(key, sealed, about(in.Name, in.Version))
}

// List returns up to limit secrets of a room and a scope, each with its newest
// version, in order of their names, that come after the name after.
func (v *Vault) List(ctx context.Context, room, scope, after string, limit int) (list []Info, err error) {
	err = v.db.Read(ctx, func(q store.Queryer) error {
		rows, err := q.QueryContext(ctx, `SELECT name, max(version), max(created_at) FROM secrets
			WHERE room = ? AND scope = ? AND name > ? GROUP BY name ORDER BY name LIMIT ?`, room, scope, after, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			in := Info{Name: Name{Room: room, Scope: scope}}
			var at string
			if err := rows.Scan(&in.Name.Name, &in.Version, &at); err != nil {
				return err
			}
			if in.At, err = store.ParseTime(at); err != nil {
				return err
			}
			list = append(list, in)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list secrets: %w", err)
	}
	return list, nil
}

// Delete removes all versions of a secret.
func (v *Vault) Delete(ctx context.Context, n Name) error {
	if err := n.check(); err != nil {
		return err
	}
	err := v.db.Write(ctx, func(tx store.Tx) error {
		res, err := tx.ExecContext(ctx, `DELETE FROM secrets WHERE room = ? AND scope = ? AND name = ?`, n.Room, n.Scope, n.Name)
		if err != nil {
			return err
		}
		if gone, err := res.RowsAffected(); err != nil || gone == 0 {
			return errors.Join(err, problem.ErrNotFound)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete secret %s: %w", n, err)
	}
	return nil
}
