package identity

import (
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Identify says who makes r, by the token it carries: as a Bearer token, or as
// the password of Basic authentication under any user name. An error wraps
// problem.ErrUnauthenticated, or is a [*Throttled].
func (k *Keeper) Identify(r *http.Request) (Principal, error) {
	token, ok := credentials(r)
	if !ok {
		return Principal{}, fmt.Errorf("the request carries no token: %w", problem.ErrUnauthenticated)
	}
	h := sum(token)
	if subtle.ConstantTimeCompare(h[:], k.admin[:]) == 1 {
		return Principal{Name: "admin", Admin: true}, nil
	}
	now := k.now()
	k.mu.RLock()
	// The key is a hash of 160 random bits: how long the lookup takes tells
	// nothing about a token.
	t, ok := k.jobs[hex.EncodeToString(h[:])]
	k.mu.RUnlock()
	if ok && now.Before(t.expires) {
		return Principal{Name: t.name(), Scope: t.scope}, nil
	}
	return Principal{}, k.refuse(r, now)
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

// Authenticate says who makes r to the API, which job tokens do not open.
func (k *Keeper) Authenticate(r *http.Request) (user string, err error) {
	p, err := k.Identify(r)
	if err != nil {
		return "", err
	}
	if !p.Admin {
		return "", fmt.Errorf("the token of a CI job opens Git only: %w", problem.ErrForbidden)
	}
	return p.Name, nil
}

// AuthorizeGit says who makes r, and whether they may read, or write, the
// repository called repo.
func (k *Keeper) AuthorizeGit(r *http.Request, repo string, write bool) (user string, err error) {
	p, err := k.Identify(r)
	if err != nil {
		return "", err
	}
	if !p.May(repo, write) {
		verb := "read"
		if write {
			verb = "write"
		}
		return "", fmt.Errorf("%s may not %s %s: %w", p.Name, verb, repo, problem.ErrForbidden)
	}
	return p.Name, nil
}

// credentials returns the token in the Authorization header.
func credentials(r *http.Request) (token string, ok bool) {
	if _, password, ok := r.BasicAuth(); ok {
		return password, password != ""
	}
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	return token, ok && token != "" && (strings.EqualFold(scheme, "Bearer") || strings.EqualFold(scheme, "token"))
}
