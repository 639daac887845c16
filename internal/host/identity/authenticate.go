package identity

import (
	"context"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Identify says who makes r, by the token it carries: as a Bearer token, or as
// the password of Basic authentication under any user name; or, without an
// Authorization header, by the cookie of a session. An error wraps
// problem.ErrUnauthenticated, or is a [*Throttled].
func (k *Keeper) Identify(r *http.Request) (Principal, error) {
	if r.Header.Get("Authorization") == "" {
		if secret, ok := cookie(r); ok {
			p, err := k.bySession(r.Context(), secret, k.now())
			return p, k.judge(r, err)
		}
	}
	token, ok := bearer(r)
	if !ok {
		return Principal{}, fmt.Errorf("the request carries no token: %w", problem.ErrUnauthenticated)
	}
	p, err := k.byToken(r.Context(), token, k.now())
	return p, k.judge(r, err)
}

// errUnknown says that a secret is none of ours, or none any more.
var errUnknown = errors.New("unknown")

// byToken finds whose token it is.
func (k *Keeper) byToken(ctx context.Context, token string, now time.Time) (Principal, error) {
	h := sum(token)
	if subtle.ConstantTimeCompare(h[:], k.admin[:]) == 1 {
		return Principal{Name: adminName, Admin: true, Via: "admin-token"}, nil
	}
	// The keys are hashes of 160 random bits: how long a lookup takes tells
	// nothing about a token.
	key := hex.EncodeToString(h[:])
	k.mu.RLock()
	t, ok := k.jobs[key]
	k.mu.RUnlock()
	if ok && now.Before(t.expires) {
		return Principal{Name: t.name(), Job: true, Via: "job-token", Scope: t.scope}, nil
	}
	return k.byAPIToken(ctx, key, now)
}

// judge turns an unknown secret into a refusal, which is counted.
func (k *Keeper) judge(r *http.Request, err error) error {
	if errors.Is(err, errUnknown) {
		return k.refuse(r, k.now())
	}
	return err
}

// refuse counts a failed attempt. A valid token never waits for the failures
// of others, who may share its address.
func (k *Keeper) refuse(r *http.Request, now time.Time) error {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	k.mu.Lock()
	wait := k.failures.fail(host, now)
	k.mu.Unlock()
	if wait > 0 {
		return &Throttled{wait}
	}
	k.log.Warn("authentication failed", "remote", host)
	return fmt.Errorf("the token is unknown or no longer valid: %w", problem.ErrUnauthenticated)
}

// Authenticate says who makes r to the API, which job tokens do not open. A
// write by a browser must show that our own page asked for it.
func (k *Keeper) Authenticate(r *http.Request) (Principal, error) {
	p, err := k.Identify(r)
	if err != nil {
		return Principal{}, err
	}
	if p.Job {
		return Principal{}, fmt.Errorf("the token of a CI job opens Git only: %w", problem.ErrForbidden)
	}
	if err := p.checkCSRF(r); err != nil {
		return Principal{}, err
	}
	return p, nil
}

// AuthorizeGit says who makes r, and whether they may read, or write, the
// repository called repo. Cookies do not count: git has none.
func (k *Keeper) AuthorizeGit(r *http.Request, repo string, write bool) (user string, err error) {
	if r.Header.Get("Authorization") == "" {
		return "", fmt.Errorf("the request carries no token: %w", problem.ErrUnauthenticated)
	}
	p, err := k.Identify(r)
	if err != nil {
		return "", err
	}
	return p.Name, k.AllowRepo(r.Context(), p, repo, write)
}
