package secret

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/penstock-dev/penstock/internal/base/atomicfile"
	"github.com/penstock-dev/penstock/internal/base/failpoint"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// FileVault is a Vault whose master keys are in a file.
type FileVault struct {
	*Vault
	path string
	ring *Ring
}

// OpenFile opens the vault with the keys in the file at path. When there is
// neither a file nor a secret yet, it makes a file with a new key. When there
// are secrets it never does: the file has been lost, and the error says so.
func OpenFile(ctx context.Context, db *store.DB, path string) (*FileVault, error) {
	if err := db.Migrate(ctx, "secret", migrations); err != nil {
		return nil, err
	}
	ring, err := readKeyFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		used, uerr := (&Vault{db: db}).used(ctx)
		if uerr != nil {
			return nil, uerr
		}
		if len(used) > 0 {
			return nil, &problem.Error{Op: "open the secrets in the store", Err: fmt.Errorf("%w: the key file %s is gone, they were sealed with key %s", ErrNoKey, path, used[0]),
				Hint: "put " + path + " back from a copy; without it these secrets are lost and must be set again"}
		}
		ring, err = createKeyFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	v, err := New(ctx, db, ring)
	if err != nil {
		return nil, err
	}
	return &FileVault{v, path, ring}, nil
}

// Rotate replaces the master key: a new one is added to the file, everything
// is wrapped with it, and keys that nothing needs any more leave the file. It
// can end at any point and be done again.
func (v *FileVault) Rotate(ctx context.Context) error {
	keys := append([]masterKey{newMasterKey(newKey())}, v.ring.all()...)
	failpoint.Hit("secret.key.added.before")
	if err := atomicfile.Write(v.path, formatKeys(keys), 0o600); err != nil {
		return fmt.Errorf("add master key: %w", err)
	}
	failpoint.Hit("secret.key.added.after")
	v.ring.set(keys)
	if err := v.leaveOldKeys(ctx, keys[0].id); err != nil {
		return err
	}
	failpoint.Hit("secret.key.removed.before")
	if err := atomicfile.Write(v.path, formatKeys(keys[:1]), 0o600); err != nil {
		return fmt.Errorf("remove old master keys: %w", err)
	}
	failpoint.Hit("secret.key.removed.after")
	v.ring.set(keys[:1])
	return nil
}

// leaveOldKeys wraps until nothing needs another master key than current. The
// last look is in a transaction: a Set that was let through before the key
// changed is seen there, and one that comes later uses the new key.
func (v *FileVault) leaveOldKeys(ctx context.Context, current string) error {
	for range 10 {
		if err := v.Rewrap(ctx); err != nil {
			return err
		}
		var used []string
		err := v.db.Write(ctx, func(tx store.Tx) (err error) {
			used, err = usedKeys(ctx, tx)
			return err
		})
		if err != nil {
			return err
		}
		if len(used) == 0 || len(used) == 1 && used[0] == current {
			return nil
		}
	}
	return errors.New("old master keys are still in use")
}

// rewrapBatch is how many data keys are wrapped in one transaction.
const rewrapBatch = 100

// Rewrap wraps every data key with the current master key. The secrets
// themselves are not touched.
func (v *Vault) Rewrap(ctx context.Context) error {
	for {
		current, err := v.keys.Current(ctx)
		if err != nil {
			return fmt.Errorf("current master key: %w", err)
		}
		list, err := v.wrappedOtherwise(ctx, current)
		if err != nil || len(list) == 0 {
			return err
		}
		for i, w := range list {
			key, err := v.keys.Unwrap(ctx, w.wrapped, w.id, about(w.Name, w.Version))
			if err == nil {
				list[i].wrapped, list[i].id, err = v.keys.Wrap(ctx, key, about(w.Name, w.Version))
			}
			if err != nil {
				return fmt.Errorf("wrap data key of secret %s again: %w", w.Name, err)
			}
		}
		failpoint.Hit("secret.rewrap.before")
		err = v.db.Write(ctx, func(tx store.Tx) error {
			for _, w := range list {
				_, err := tx.ExecContext(ctx, `UPDATE secrets SET key_id = ?, wrapped = ? WHERE room = ? AND scope = ? AND name = ? AND version = ?`,
					w.id, w.wrapped, w.Room, w.Scope, w.Name.Name, w.Version)
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("record wrapped data keys: %w", err)
		}
		failpoint.Hit("secret.rewrap.after")
	}
}

// wrappedKey is a data key of a secret.
type wrappedKey struct {
	Info
	id      string
	wrapped []byte
}

// wrappedOtherwise lists data keys that another master key wraps.
func (v *Vault) wrappedOtherwise(ctx context.Context, current string) (list []wrappedKey, err error) {
	err = v.db.Read(ctx, func(q store.Queryer) error {
		rows, err := q.QueryContext(ctx, `SELECT room, scope, name, version, key_id, wrapped FROM secrets WHERE key_id <> ? ORDER BY room, scope, name, version LIMIT ?`, current, rewrapBatch)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var w wrappedKey
			if err := rows.Scan(&w.Room, &w.Scope, &w.Name.Name, &w.Version, &w.id, &w.wrapped); err != nil {
				return err
			}
			list = append(list, w)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list data keys: %w", err)
	}
	return list, nil
}
