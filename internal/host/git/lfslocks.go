package git

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/base/id"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// lfsLock is a lock on a path.
type lfsLock struct {
	ID       string    `json:"id"`
	Path     string    `json:"path"`
	LockedAt time.Time `json:"locked_at"`
	Owner    lfsOwner  `json:"owner"`
}

type lfsOwner struct {
	Name string `json:"name"`
}

const (
	maxLocks     = 1000 // in one answer
	maxRepoLocks = 100_000
	maxLockPath  = 4096
)

// locksAfter lists the locks of a repository in order of id, from one on.
func (s *Server) locksAfter(ctx context.Context, repo, after, path, lockID string, limit int) (list []lfsLock, next string, err error) {
	if limit <= 0 || limit > maxLocks {
		limit = maxLocks
	}
	list = []lfsLock{}
	err = s.db.Read(ctx, func(q store.Queryer) error {
		rows, err := q.QueryContext(ctx, `SELECT id, path, owner, locked FROM git_locks
			WHERE repo = $1 AND id > $2 AND ($3 = '' OR path = $3) AND ($4 = '' OR id = $4) ORDER BY id LIMIT $5`, repo, after, path, lockID, limit+1)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			l, err := scanLock(rows)
			if err != nil {
				return err
			}
			list = append(list, l)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, "", fmt.Errorf("read locks of %s: %w", repo, err)
	}
	if len(list) > limit {
		list = list[:limit]
		next = list[limit-1].ID
	}
	return list, next, nil
}

func scanLock(row interface{ Scan(...any) error }) (l lfsLock, err error) {
	var locked string
	if err := row.Scan(&l.ID, &l.Path, &l.Owner.Name, &locked); err != nil {
		return l, err
	}
	at, err := store.ParseTime(locked)
	l.LockedAt = at.Truncate(time.Second)
	return l, err
}

func (x *lfsExchange) listLocks() error {
	q := x.req.URL.Query()
	limit, err := atoiOr(q.Get("limit"), 0)
	if err != nil {
		return &lfsError{http.StatusUnprocessableEntity, "limit is not a number"}
	}
	list, next, err := x.server.locksAfter(x.req.Context(), x.repo, q.Get("cursor"), q.Get("path"), q.Get("id"), limit)
	if err != nil {
		return err
	}
	return x.answer(http.StatusOK, struct {
		Locks []lfsLock `json:"locks"`
		Next  string    `json:"next_cursor,omitempty"`
	}{list, next})
}

func atoiOr(s string, def int) (int, error) {
	if s == "" {
		return def, nil
	}
	return strconv.Atoi(s)
}

// verifyLocks is what the client asks before a push: it holds back what others
// have locked.
func (x *lfsExchange) verifyLocks() error {
	var in struct {
		Cursor string `json:"cursor"`
		Limit  int    `json:"limit"`
	}
	if err := x.read(&in); err != nil {
		return err
	}
	list, next, err := x.server.locksAfter(x.req.Context(), x.repo, in.Cursor, "", "", in.Limit)
	if err != nil {
		return err
	}
	out := struct {
		Ours   []lfsLock `json:"ours"`
		Theirs []lfsLock `json:"theirs"`
		Next   string    `json:"next_cursor,omitempty"`
	}{[]lfsLock{}, []lfsLock{}, next}
	for _, l := range list {
		if l.Owner.Name == x.user {
			out.Ours = append(out.Ours, l)
		} else {
			out.Theirs = append(out.Theirs, l)
		}
	}
	return x.answer(http.StatusOK, out)
}

func (x *lfsExchange) lock() error {
	var in struct {
		Path string `json:"path"`
	}
	if err := x.read(&in); err != nil {
		return err
	}
	if in.Path == "" || len(in.Path) > maxLockPath || strings.ContainsFunc(in.Path, func(r rune) bool { return r < ' ' }) {
		return &lfsError{http.StatusUnprocessableEntity, "not a path that can be locked"}
	}
	ctx := x.req.Context()
	l := lfsLock{ID: id.New(), Path: in.Path, LockedAt: x.server.now().UTC().Truncate(time.Second), Owner: lfsOwner{x.user}}
	taken := false
	err := x.server.db.Write(ctx, func(tx store.Tx) error {
		taken = false
		have, err := scanLock(tx.QueryRowContext(ctx, `SELECT id, path, owner, locked FROM git_locks WHERE repo = $1 AND path = $2`, x.repo, l.Path))
		if err == nil {
			l, taken = have, true
			return nil
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		var n int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM git_locks WHERE repo = $1`, x.repo).Scan(&n); err != nil {
			return err
		}
		if n >= maxRepoLocks {
			return &lfsError{http.StatusInsufficientStorage, "the repository has too many locks"}
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO git_locks (id, repo, path, owner, locked) VALUES ($1, $2, $3, $4, $5)`,
			l.ID, x.repo, l.Path, l.Owner.Name, store.FormatTime(l.LockedAt))
		return err
	})
	if err != nil {
		return fmt.Errorf("lock %s: %w", in.Path, err)
	}
	if taken {
		return x.answer(http.StatusConflict, map[string]any{"lock": l, "message": "already locked by " + l.Owner.Name})
	}
	return x.answer(http.StatusCreated, map[string]any{"lock": l})
}

func (x *lfsExchange) unlock(lockID string) error {
	var in struct {
		Force bool `json:"force"`
	}
	if err := x.read(&in); err != nil {
		return err
	}
	ctx := x.req.Context()
	var l lfsLock
	err := x.server.db.Write(ctx, func(tx store.Tx) (err error) {
		l, err = scanLock(tx.QueryRowContext(ctx, `SELECT id, path, owner, locked FROM git_locks WHERE repo = $1 AND id = $2`, x.repo, lockID))
		if errors.Is(err, sql.ErrNoRows) {
			return &lfsError{http.StatusNotFound, "there is no such lock"}
		}
		if err != nil {
			return err
		}
		if l.Owner.Name != x.user && !in.Force {
			return &lfsError{http.StatusForbidden, "it is the lock of " + l.Owner.Name + "; --force removes it"}
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM git_locks WHERE id = $1`, lockID)
		return err
	})
	if err != nil {
		return fmt.Errorf("unlock: %w", err)
	}
	return x.answer(http.StatusOK, map[string]any{"lock": l})
}
