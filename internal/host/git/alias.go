package git

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// Alias says that an outside address stands for a hosted repository.
type Alias struct {
	Address   string    `json:"address"` // "github.com/acme/shop"
	Repo      string    `json:"repository"`
	CreatedAt time.Time `json:"createdAt"`
}

// maxAlias is what oneLine leaves whole.
const maxAlias = 255

// aliasKey gives the normal form of an address; a scheme may be left out.
func aliasKey(address string) (string, error) {
	key, ok := normalURL(address)
	if !ok && !strings.Contains(address, "://") {
		key, ok = normalURL("https://" + address)
	}
	if host, path, _ := strings.Cut(key, "/"); !ok || len(key) > maxAlias || key != oneLine(key) || strings.Contains(key, " ") || host == "" || path == "" {
		return "", fmt.Errorf("%q is not the address of a repository, as in github.com/acme/shop: %w", address, problem.ErrInvalid)
	}
	return key, nil
}

// AddAlias lets an outside address stand for a hosted repository.
func (s *Server) AddAlias(ctx context.Context, address, repo string) (Alias, error) {
	key, err := aliasKey(address)
	if err != nil {
		return Alias{}, err
	}
	if err := s.readable(repo); err != nil {
		return Alias{}, err
	}
	if other, ok := s.names.repo("https://" + key); ok && other != repo {
		return Alias{}, fmt.Errorf("%s stands for %s: %w", key, other, problem.ErrExists)
	}
	a := Alias{Address: key, Repo: repo, CreatedAt: s.now().UTC()}
	err = s.db.Write(ctx, func(tx store.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO git_aliases (address, repo, created) VALUES ($1, $2, $3)
			ON CONFLICT (address) DO UPDATE SET repo = excluded.repo, created = excluded.created`, a.Address, a.Repo, store.FormatTime(a.CreatedAt))
		return err
	})
	if err != nil {
		return Alias{}, fmt.Errorf("add alias %s: %w", key, err)
	}
	s.names.set(key, repo)
	return a, nil
}

// RemoveAlias undoes AddAlias.
func (s *Server) RemoveAlias(ctx context.Context, address string) error {
	key, err := aliasKey(address)
	if err != nil {
		return err
	}
	err = s.db.Write(ctx, func(tx store.Tx) error {
		res, err := tx.ExecContext(ctx, `DELETE FROM git_aliases WHERE address = $1`, key)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, problem.ErrNotFound)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("alias %s: %w", key, err)
	}
	s.names.unset(key)
	return nil
}

// Aliases lists the aliases that were added, in order of address.
func (s *Server) Aliases(ctx context.Context) ([]Alias, error) {
	list := []Alias{}
	err := s.db.Read(ctx, func(q store.Queryer) error {
		rows, err := q.QueryContext(ctx, `SELECT address, repo, created FROM git_aliases ORDER BY address`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var a Alias
			var created string
			if err := rows.Scan(&a.Address, &a.Repo, &created); err != nil {
				return err
			}
			if a.CreatedAt, err = store.ParseTime(created); err != nil {
				return err
			}
			list = append(list, a)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("read aliases: %w", err)
	}
	return list, nil
}

func (s *Server) loadAliases(ctx context.Context) error {
	list, err := s.Aliases(ctx)
	for _, a := range list {
		s.names.set(a.Address, a.Repo)
	}
	return err
}
