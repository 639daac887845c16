// Package oidc is an OpenID Connect issuer: CI jobs get tokens from it by which
// other services know who they are, without any secret of theirs.
//
// It signs with RS256, as GitHub's does, because that is what relying parties
// expect. Keys are sealed in the store. A new key is published a day before it
// signs, and an old one stays for a day after it has signed last, so nobody who
// keeps the set of keys for a while ever misses one.
package oidc

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/penstock-dev/penstock/internal/base/id"
	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Keep is where the keys are kept. Load returns nothing before the first Save.
type Keep interface {
	Load(ctx context.Context) ([]byte, error)
	Save(ctx context.Context, keys []byte) error
}

// Options configures an [Issuer].
type Options struct {
	URL  string           // required: the issuer, as relying parties reach it
	Keys Keep             // required
	Now  func() time.Time // default time.Now
	Log  *slog.Logger     // default discards
}

// Issuer mints tokens.
type Issuer struct {
	o    Options
	mu   sync.RWMutex
	keys []key // the oldest first
}

// How keys and tokens live.
const (
	keyLife  = 90 * 24 * time.Hour // a key signs
	overlap  = 24 * time.Hour      // it is known before and after
	MaxLife  = time.Hour           // of a token
	lookOver = time.Hour           // how often keys are looked over
	keyBits  = 2048
)

// key signs from a moment on, until the next one does.
type key struct {
	JWK  jose.JSONWebKey `json:"jwk"`
	From time.Time       `json:"from"`
}

// New loads the keys, and makes the first.
func New(ctx context.Context, o Options) (*Issuer, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.URL = strings.TrimSuffix(o.URL, "/")
	i := &Issuer{o: o}
	b, err := o.Keys.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("load the issuer's keys: %w", err)
	}
	if len(b) > 0 {
		if err := json.Unmarshal(b, &i.keys); err != nil {
			// What the error quotes could be a key.
			return nil, errors.New("the issuer's keys cannot be read")
		}
	}
	return i, i.rotate(ctx)
}

// Run rotates the keys when it is time, until ctx ends.
func (i *Issuer) Run(ctx context.Context) error {
	tick := time.NewTicker(lookOver)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if err := i.rotate(ctx); err != nil && ctx.Err() == nil {
			i.o.Log.Error("cannot rotate the issuer's keys", "error", err)
		}
	}
}

// plan says which keys stay, from the index keep on, and from when the next
// one signs, the zero time when there is one to come.
func plan(from []time.Time, now time.Time) (keep int, next time.Time) {
	if len(from) == 0 {
		return 0, now
	}
	// The key before one that has signed for long enough is of no use.
	for n := 1; n < len(from); n++ {
		if now.Sub(from[n]) >= overlap+MaxLife {
			keep = n
		}
	}
	last := from[len(from)-1]
	if due := last.Add(keyLife); !now.Before(due.Add(-overlap)) {
		next = due
		if early := now.Add(overlap); next.Before(early) {
			next = early // nobody looked for a while: it is published first all the same
		}
	}
	return keep, next
}

// rotate carries out what is due, the record first.
func (i *Issuer) rotate(ctx context.Context) error {
	i.mu.RLock()
	keys := i.keys
	i.mu.RUnlock()
	from := make([]time.Time, len(keys))
	for n, k := range keys {
		from[n] = k.From
	}
	keep, next := plan(from, i.o.Now())
	if keep == 0 && next.IsZero() {
		return nil
	}
	keys = append([]key{}, keys[keep:]...)
	if !next.IsZero() {
		private, err := rsa.GenerateKey(rand.Reader, keyBits)
		if err != nil {
			return fmt.Errorf("make a key: %w", err)
		}
		keys = append(keys, key{jose.JSONWebKey{Key: private, KeyID: id.New(), Algorithm: string(jose.RS256), Use: "sig"}, next.UTC()})
	}
	b, err := json.Marshal(keys)
	if err != nil {
		return errors.New("encode the issuer's keys")
	}
	if err := i.o.Keys.Save(ctx, b); err != nil {
		return fmt.Errorf("save the issuer's keys: %w", err)
	}
	i.mu.Lock()
	i.keys = keys
	i.mu.Unlock()
	i.o.Log.Info("the issuer's keys were rotated", "keys", len(keys))
	return nil
}

// signer is the newest key whose time has come.
func (i *Issuer) signer(now time.Time) (jose.JSONWebKey, error) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	for n := len(i.keys) - 1; n >= 0; n-- {
		if !now.Before(i.keys[n].From) {
			return i.keys[n].JWK, nil
		}
	}
	return jose.JSONWebKey{}, errors.New("no key signs yet: the clock was set back")
}

// Mint makes a token that says that its bearer is subject, to audience only.
// claims are added; the registered ones are the issuer's own.
func (i *Issuer) Mint(subject, audience string, claims map[string]any, life time.Duration) (string, error) {
	if subject == "" || audience == "" || life <= 0 || life > MaxLife {
		return "", fmt.Errorf("mint a token for %q to %q, valid %s: %w", subject, audience, life, problem.ErrInvalid)
	}
	now := i.o.Now()
	k, err := i.signer(now)
	if err != nil {
		return "", err
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: k}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", fmt.Errorf("make a signer: %w", err)
	}
	all := maps.Clone(claims)
	if all == nil {
		all = map[string]any{}
	}
	for _, own := range []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti"} {
		delete(all, own)
	}
	return jwt.Signed(s).Claims(all).Claims(jwt.Claims{
		Issuer: i.o.URL, Subject: subject, Audience: jwt.Audience{audience}, ID: id.New(),
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(life)),
	}).Serialize()
}

// Paths of the documents, as OpenID Connect Discovery and GitHub name them.
const (
	DiscoveryPath = "/.well-known/openid-configuration"
	KeysPath      = "/.well-known/jwks"
)

// ServeHTTP gives the two documents that relying parties read.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET")
		http.Error(w, "only GET", http.StatusMethodNotAllowed)
		return
	}
	var doc any
	switch r.URL.Path {
	case DiscoveryPath:
		doc = map[string]any{
			"issuer": i.o.URL, "jwks_uri": i.o.URL + KeysPath,
			"response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"},
			"id_token_signing_alg_values_supported": []string{string(jose.RS256)}, "scopes_supported": []string{"openid"},
			"claims_supported": []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti"},
		}
	case KeysPath:
		var set jose.JSONWebKeySet
		i.mu.RLock()
		for _, k := range i.keys {
			set.Keys = append(set.Keys, k.JWK.Public())
		}
		i.mu.RUnlock()
		doc = set
	default:
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "public, max-age=3600")
	_ = json.NewEncoder(w).Encode(doc)
}
