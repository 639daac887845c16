package identity

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/penstock-dev/penstock/internal/base/id"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/audit"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// Token describes an API token; the secret itself is shown once.
type Token struct {
	ID        string    `json:"id"`
	User      string    `json:"user" doc:"whom it speaks for"`
	Name      string    `json:"name" doc:"what it is for"`
	Scopes    []string  `json:"scopes" doc:"what it opens of what the user may do: *, read, RESOURCE:read, RESOURCE:write" nullable:"false"`
	Projects  []string  `json:"projects" doc:"where; empty is everywhere" nullable:"false"`
	CreatedAt time.Time `json:"createdAt"`
	ExpiresAt time.Time `json:"expiresAt"`
	UsedAt    time.Time `json:"usedAt,omitzero" doc:"to within a few minutes"`
}

// NewToken asks for one.
type NewToken struct {
	User     string
	Name     string
	Scopes   []string
	Projects []string
	Life     time.Duration
}

const (
	maxTokenLife = 366 * 24 * time.Hour
	maxTokens    = 1000 // of one user
	// usedEvery is how exactly it is known when a secret was last used.
	usedEvery = 5 * time.Minute
)

// CreateToken makes a token. Its secret is not stored and cannot be asked for
// again.
func (k *Keeper) CreateToken(ctx context.Context, n NewToken) (t Token, secret string, err error) {
	now := k.now().UTC()
	t = Token{ID: id.New(), User: n.User, Name: n.Name, Scopes: n.Scopes, Projects: n.Projects, CreatedAt: now, ExpiresAt: now.Add(n.Life)}
	if t.Projects == nil {
		t.Projects = []string{}
	}
	if n.Life <= 0 || n.Life > maxTokenLife {
		return t, "", fmt.Errorf("a token ends after at most %d days: %w", maxTokenLife/(24*time.Hour), problem.ErrInvalid)
	}
	if n.Name == "" || len(n.Name) > 100 || !utf8.ValidString(n.Name) {
		return t, "", fmt.Errorf("a token has a name of up to 100 bytes: %w", problem.ErrInvalid)
	}
	if err := checkScopes(t.Scopes, t.Projects); err != nil {
		return t, "", err
	}
	scopes, err := json.Marshal(t.Scopes)
	if err != nil {
		return t, "", err
	}
	projects, err := json.Marshal(t.Projects)
	if err != nil {
		return t, "", err
	}
	secret = id.Secret(userPrefix)
	err = k.db.Write(ctx, func(tx store.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM api_tokens WHERE expires < $1`, store.FormatTime(now.AddDate(0, 0, -30))); err != nil {
			return err
		}
		if _, err := known(ctx, tx, n.User); err != nil {
			return err
		}
		var have int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM api_tokens WHERE owner = $1`, n.User).Scan(&have); err != nil {
			return err
		}
		if have >= maxTokens {
			return fmt.Errorf("user %s has %d tokens already: %w", n.User, have, problem.ErrInvalid)
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO api_tokens (id, hash, owner, name, scopes, projects, created, expires, used)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, '')`, t.ID, hash(secret), t.User, t.Name, string(scopes), string(projects),
			store.FormatTime(t.CreatedAt), store.FormatTime(t.ExpiresAt))
		if err != nil {
			return err
		}
		return audit.Record(ctx, tx)
	})
	if err != nil {
		return t, "", fmt.Errorf("create token: %w", err)
	}
	return t, secret, nil
}

// known reads a user who may come in.
func known(ctx context.Context, q store.Queryer, name string) (User, error) {
	if name == adminName {
		return User{Name: adminName, Roles: []string{RoleAdmin}}, nil
	}
	u, err := user(ctx, q, name)
	if err == nil && u.Disabled {
		err = fmt.Errorf("user %s is disabled: %w", name, problem.ErrForbidden)
	}
	return u, err
}

const tokenColumns = `id, owner, name, scopes, projects, created, expires, used` //nolint:gosec // names of columns

// Tokens lists the tokens of a user, all tokens when owner is empty, in order
// of their ids.
func (k *Keeper) Tokens(ctx context.Context, owner string) ([]Token, error) {
	all := []Token{}
	err := k.db.Read(ctx, func(q store.Queryer) error {
		rows, err := q.QueryContext(ctx, `SELECT `+tokenColumns+` FROM api_tokens WHERE ($1 = '' OR owner = $1) ORDER BY id`, owner)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			t, err := scanToken(rows.Scan)
			if err != nil {
				return err
			}
			all = append(all, t)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	return all, nil
}

// Token returns the description of one.
func (k *Keeper) Token(ctx context.Context, tokenID string) (t Token, err error) {
	err = k.db.Read(ctx, func(q store.Queryer) (err error) {
		t, err = scanToken(q.QueryRowContext(ctx, `SELECT `+tokenColumns+` FROM api_tokens WHERE id = $1`, tokenID).Scan)
		if errors.Is(err, sql.ErrNoRows) {
			err = problem.ErrNotFound
		}
		return err
	})
	if err != nil {
		return t, fmt.Errorf("token %s: %w", tokenID, err)
	}
	return t, nil
}

// RevokeToken ends a token at once.
func (k *Keeper) RevokeToken(ctx context.Context, tokenID string) error {
	err := k.db.Write(ctx, func(tx store.Tx) error {
		if err := one(tx.ExecContext(ctx, `DELETE FROM api_tokens WHERE id = $1`, tokenID)); err != nil {
			return err
		}
		return audit.Record(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("token %s: %w", tokenID, err)
	}
	return nil
}

// byAPIToken finds whose API token has the hash.
func (k *Keeper) byAPIToken(ctx context.Context, hash string, now time.Time) (p Principal, err error) {
	var t Token
	var u User
	err = k.db.Read(ctx, func(q store.Queryer) (err error) {
		t, err = scanToken(q.QueryRowContext(ctx, `SELECT `+tokenColumns+` FROM api_tokens WHERE hash = $1`, hash).Scan)
		if err != nil {
			return err
		}
		u, err = known(ctx, q, t.User)
		return err
	})
	switch {
	case errors.Is(err, sql.ErrNoRows), errors.Is(err, problem.ErrNotFound), errors.Is(err, problem.ErrForbidden):
		return p, errUnknown
	case err != nil:
		return p, fmt.Errorf("look a token up: %w", err)
	case !now.Before(t.ExpiresAt):
		return p, errUnknown
	}
	if now.Sub(t.UsedAt) >= usedEvery {
		k.touch(ctx, "api_tokens", t.ID, now)
	}
	return Principal{Name: t.User, Via: "token/" + t.ID, Roles: u.Roles, limits: limits{t.Scopes, t.Projects}}, nil
}

// touch notes when a secret was used. That it cannot be noted refuses nobody.
func (k *Keeper) touch(ctx context.Context, table, secretID string, now time.Time) {
	err := k.db.Write(ctx, func(tx store.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE `+table+` SET used = $1 WHERE id = $2`, store.FormatTime(now), secretID)
		return err
	})
	if err != nil && ctx.Err() == nil {
		k.log.Error("cannot note the use of a secret", "kind", table, "id", secretID, "error", err)
	}
}

func scanToken(scan func(...any) error) (t Token, err error) {
	var scopes, projects, created, expires, used string
	if err := scan(&t.ID, &t.User, &t.Name, &scopes, &projects, &created, &expires, &used); err != nil {
		return t, err
	}
	if err := errors.Join(json.Unmarshal([]byte(scopes), &t.Scopes), json.Unmarshal([]byte(projects), &t.Projects)); err != nil {
		return t, fmt.Errorf("limits of token %s: %w", t.ID, err)
	}
	return t, parseTimes(created, &t.CreatedAt, expires, &t.ExpiresAt, used, &t.UsedAt)
}

// parseTimes reads pairs of a stored time and where it goes.
func parseTimes(pairs ...any) error {
	for i := 0; i+1 < len(pairs); i += 2 {
		text, _ := pairs[i].(string)
		to, _ := pairs[i+1].(*time.Time)
		t, err := store.ParseTime(text)
		if err != nil {
			return err
		}
		*to = t
	}
	return nil
}

func hash(secret string) string {
	h := sum(secret)
	return hex.EncodeToString(h[:])
}
