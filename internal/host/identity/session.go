package identity

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/penstock-dev/penstock/internal/base/id"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/audit"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// Session describes a browser that is logged in.
type Session struct {
	ID        string    `json:"id"`
	User      string    `json:"user"`
	Agent     string    `json:"agent" doc:"what the browser calls itself"`
	CreatedAt time.Time `json:"createdAt"`
	ExpiresAt time.Time `json:"expiresAt"`
	UsedAt    time.Time `json:"usedAt" doc:"to within a few minutes"`
}

const (
	loginLife   = 15 * time.Minute   // of a login link
	sessionLife = 7 * 24 * time.Hour // whatever happens
	sessionIdle = 24 * time.Hour     // without a request
	maxCodes    = 100                // login links that wait for their use
	maxAgent    = 200
)

// NewLogin makes a code that opens one session of a user, once and soon.
// Only this machine's administrator makes codes for themselves.
func (k *Keeper) NewLogin(ctx context.Context, by Principal, owner string) (code string, expires time.Time, err error) {
	local := owner == adminName
	if local && !by.Admin {
		return "", expires, fmt.Errorf("a link for user %s: %w", adminName, problem.ErrForbidden)
	}
	code = id.Secret(loginPrefix)
	now := k.now().UTC()
	expires = now.Add(loginLife)
	err = k.db.Write(ctx, func(tx store.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM login_codes WHERE expires <= $1`, store.FormatTime(now)); err != nil {
			return err
		}
		if _, err := known(ctx, tx, owner); err != nil {
			return err
		}
		var waiting int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM login_codes WHERE owner = $1`, owner).Scan(&waiting); err != nil {
			return err
		}
		if waiting >= maxCodes {
			return fmt.Errorf("%d login links of %s are unused: %w", waiting, owner, problem.ErrInvalid)
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO login_codes (hash, owner, local, expires) VALUES ($1, $2, $3, $4)`,
			hash(code), owner, bit(local), store.FormatTime(expires))
		if err != nil {
			return err
		}
		return audit.Record(ctx, tx)
	})
	if err != nil {
		return "", expires, fmt.Errorf("make a login link: %w", err)
	}
	return code, expires, nil
}

// Login opens a session for a code, which is used up by it. r is the request
// that brings the code.
func (k *Keeper) Login(r *http.Request, code string) (p Principal, cookie *http.Cookie, err error) {
	ctx, now := r.Context(), k.now().UTC()
	secret := id.Secret(sessionPrefix)
	s := Session{ID: id.New(), Agent: clip(r.UserAgent(), maxAgent), CreatedAt: now, ExpiresAt: now.Add(sessionLife)}
	var local int
	var u User
	err = k.db.Write(ctx, func(tx store.Tx) error {
		err := tx.QueryRowContext(ctx, `DELETE FROM login_codes WHERE hash = $1 AND expires > $2 RETURNING owner, local`,
			hash(code), store.FormatTime(now)).Scan(&s.User, &local)
		if errors.Is(err, sql.ErrNoRows) {
			return errUnknown
		}
		if err != nil {
			return err
		}
		if u, err = known(ctx, tx, s.User); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM sessions WHERE expires <= $1 OR used <= $2`,
			store.FormatTime(now), store.FormatTime(now.Add(-sessionIdle))); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO sessions (id, hash, owner, local, agent, created, expires, used)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $6)`, s.ID, hash(secret), s.User, local, s.Agent, store.FormatTime(now), store.FormatTime(s.ExpiresAt))
		if err != nil {
			return err
		}
		audit.Actor(ctx, s.User, "session/"+s.ID)
		return audit.Record(ctx, tx)
	})
	if errors.Is(err, errUnknown) {
		return p, nil, fmt.Errorf("the login link was used before, or has ended: %w", k.refuse(r, now))
	}
	if err != nil {
		return p, nil, fmt.Errorf("log in: %w", err)
	}
	return sessionPrincipal(s, u, local == 1, secret), newCookie(r, secret, int(sessionLife.Seconds())), nil
}

// newCookie makes the cookie, for TLS only when it comes over TLS: on
// loopback there is no TLS.
func newCookie(r *http.Request, secret string, age int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // see above
		Name: Cookie, Value: secret, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil, MaxAge: age,
	}
}

// NoCookie makes a browser forget its session.
func NoCookie(r *http.Request) *http.Cookie { return newCookie(r, "", -1) }

func sessionPrincipal(s Session, u User, local bool, secret string) Principal {
	return Principal{
		Name: s.User, Via: "session/" + s.ID, Admin: local, Roles: u.Roles,
		session: s.ID, csrf: hash("csrf " + secret),
	}
}

const sessionColumns = `id, owner, agent, created, expires, used`

// bySession finds whose session has the secret.
func (k *Keeper) bySession(ctx context.Context, secret string, now time.Time) (p Principal, err error) {
	var s Session
	var u User
	var local int
	err = k.db.Read(ctx, func(q store.Queryer) (err error) {
		s, err = scanSession(q.QueryRowContext(ctx, `SELECT `+sessionColumns+`, local FROM sessions WHERE hash = $1`, hash(secret)).Scan, &local)
		if err != nil {
			return err
		}
		u, err = known(ctx, q, s.User)
		return err
	})
	switch {
	case errors.Is(err, sql.ErrNoRows), errors.Is(err, problem.ErrNotFound), errors.Is(err, problem.ErrForbidden):
		return p, errUnknown
	case err != nil:
		return p, fmt.Errorf("look a session up: %w", err)
	case !now.Before(s.ExpiresAt), now.Sub(s.UsedAt) >= sessionIdle:
		return p, errUnknown
	}
	if now.Sub(s.UsedAt) >= usedEvery {
		k.touch(ctx, "sessions", s.ID, now)
	}
	return sessionPrincipal(s, u, local == 1, secret), nil
}

// Sessions lists the sessions of a user that are open, in order of their ids.
func (k *Keeper) Sessions(ctx context.Context, owner string) ([]Session, error) {
	all := []Session{}
	now := k.now()
	err := k.db.Read(ctx, func(q store.Queryer) error {
		rows, err := q.QueryContext(ctx, `SELECT `+sessionColumns+` FROM sessions WHERE owner = $1 AND expires > $2 AND used > $3 ORDER BY id`,
			owner, store.FormatTime(now), store.FormatTime(now.Add(-sessionIdle)))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			s, err := scanSession(rows.Scan)
			if err != nil {
				return err
			}
			all = append(all, s)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	return all, nil
}

// EndSession ends a session of owner at once.
func (k *Keeper) EndSession(ctx context.Context, owner, sessionID string) error {
	err := k.db.Write(ctx, func(tx store.Tx) error {
		if err := one(tx.ExecContext(ctx, `DELETE FROM sessions WHERE id = $1 AND owner = $2`, sessionID, owner)); err != nil {
			return err
		}
		return audit.Record(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("session %s: %w", sessionID, err)
	}
	return nil
}

func scanSession(scan func(...any) error, more ...any) (s Session, err error) {
	var created, expires, used string
	if err := scan(append([]any{&s.ID, &s.User, &s.Agent, &created, &expires, &used}, more...)...); err != nil {
		return s, err
	}
	return s, parseTimes(created, &s.CreatedAt, expires, &s.ExpiresAt, used, &s.UsedAt)
}

// checkCSRF refuses a write that a browser sends with its cookie on behalf of
// another page: only our own page knows what belongs in the header.
func (p Principal) checkCSRF(r *http.Request) error {
	if p.session == "" || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	if subtle.ConstantTimeCompare([]byte(r.Header.Get(CSRFHeader)), []byte(p.csrf)) != 1 {
		return fmt.Errorf("the request does not carry the session's %s: %w", CSRFHeader, problem.ErrForbidden)
	}
	return nil
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// clip cuts s to at most n bytes of valid text.
func clip(s string, n int) string {
	out := make([]rune, 0, min(len(s), n))
	size := 0
	for _, r := range s {
		if size += len(string(r)); size > n {
			break
		}
		if r < ' ' {
			r = ' '
		}
		out = append(out, r)
	}
	return string(out)
}
