package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// memory keeps the keys.
type memory struct {
	b    []byte
	fail error
}

func (m *memory) Load(context.Context) ([]byte, error) { return m.b, nil }
func (m *memory) Save(_ context.Context, b []byte) error {
	if m.fail != nil {
		return m.fail
	}
	m.b = b
	return nil
}

type world struct {
	*Issuer
	keep *memory
	now  time.Time
}

func (w *world) open(t *testing.T) {
	t.Helper()
	i, err := New(t.Context(), Options{URL: "http://penstock.localhost:7080/", Keys: w.keep, Now: func() time.Time { return w.now }})
	if err != nil {
		t.Fatal(err)
	}
	w.Issuer = i
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{keep: &memory{}, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	w.open(t)
	return w
}

func (w *world) get(t *testing.T, path string, v any) {
	t.Helper()
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
	if rec.Code != 200 || json.Unmarshal(rec.Body.Bytes(), v) != nil {
		t.Fatalf("%s: %d %s", path, rec.Code, rec.Body)
	}
	if s := rec.Body.String(); strings.Contains(s, `"d":`) || strings.Contains(s, `"p":`) {
		t.Fatalf("%s holds a private key", path)
	}
}

// verify reads a token as a relying party does that knows only what set says.
func verify(token string, set jose.JSONWebKeySet, now time.Time) (claims map[string]any, err error) {
	tok, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return nil, err
	}
	var std jwt.Claims
	if err := tok.Claims(set, &std, &claims); err != nil {
		return nil, err
	}
	return claims, std.ValidateWithLeeway(jwt.Expected{Issuer: "http://penstock.localhost:7080", AnyAudience: jwt.Audience{"sts"}, Time: now}, 0)
}

func TestTokensAreKnownByTheDocuments(t *testing.T) {
	w := newWorld(t)
	var d struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	w.get(t, DiscoveryPath, &d)
	if d.Issuer != "http://penstock.localhost:7080" || d.Keys != d.Issuer+KeysPath {
		t.Errorf("%+v", d)
	}
	var set jose.JSONWebKeySet
	w.get(t, KeysPath, &set)
	token, err := w.Mint("repo:demo/shop:ref:refs/heads/main", "sts", map[string]any{"repository": "demo/shop", "iss": "https://evil.example", "exp": 1}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := verify(token, set, w.now)
	if err != nil || claims["repository"] != "demo/shop" || claims["sub"] != "repo:demo/shop:ref:refs/heads/main" || claims["jti"] == "" {
		t.Errorf("%v, %v", claims, err)
	}
	if _, err := verify(token, set, w.now.Add(2*time.Minute)); !errors.Is(err, jwt.ErrExpired) {
		t.Errorf("after its time: %v", err)
	}
	w.open(t) // a restarted server has the same keys
	var again jose.JSONWebKeySet
	w.get(t, KeysPath, &again)
	if _, err := verify(token, again, w.now); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	for _, bad := range []struct {
		sub, aud string
		life     time.Duration
	}{{"", "sts", 1}, {"a", "", 1}, {"a", "sts", 0}, {"a", "sts", MaxLife + 1}} {
		if _, err := w.Mint(bad.sub, bad.aud, nil, bad.life); !errors.Is(err, problem.ErrInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	rec := httptest.NewRecorder()
	if w.ServeHTTP(rec, httptest.NewRequest("POST", KeysPath, nil)); rec.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", rec.Code)
	}
}

// TestKeysChangeWithoutAGap over a year: who reads the keys once a day knows
// every token of the next one.
func TestKeysChangeWithoutAGap(t *testing.T) {
	w := newWorld(t)
	var set jose.JSONWebKeySet
	seen := map[string]bool{}
	most := 0
	for hour := range 366 * 24 {
		w.now = w.now.Add(time.Hour)
		if err := w.rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if hour%23 == 0 { // within the time for which the answer may be kept, and more
			w.get(t, KeysPath, &set)
			most = max(most, len(set.Keys))
		}
		if hour%24 != 0 {
			continue
		}
		token, err := w.Mint("a", "sts", nil, MaxLife)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := verify(token, set, w.now); err != nil {
			t.Fatalf("after %d hours, with %d keys: %v", hour, len(set.Keys), err)
		}
		tok, _ := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
		seen[tok.Headers[0].KeyID] = true
	}
	if len(seen) != 5 || most > 3 {
		t.Errorf("%d keys signed in a year, up to %d at a time", len(seen), most)
	}
	// A server that was off for long publishes the next key first, too.
	w.now = w.now.Add(500 * 24 * time.Hour)
	w.open(t)
	w.get(t, KeysPath, &set)
	w.now = w.now.Add(25 * time.Hour)
	if err := w.rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	token, err := w.Mint("a", "sts", nil, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := verify(token, set, w.now); err != nil {
		t.Errorf("after a long time off: %v", err)
	}
}

// TestAKeyThatIsNotKeptDoesNotSign: after a crash nobody would know it.
func TestAKeyThatIsNotKeptDoesNotSign(t *testing.T) {
	w := newWorld(t)
	w.keep.fail = errors.New("disk full")
	w.now = w.now.Add(keyLife)
	if err := w.rotate(t.Context()); err == nil {
		t.Fatal("it was kept")
	}
	var set jose.JSONWebKeySet
	if w.get(t, KeysPath, &set); len(set.Keys) != 1 {
		t.Errorf("%d keys", len(set.Keys))
	}
	w.keep.b = []byte(`[{"jwk": {"kty":"RSA","d":"s3cret"}}]`)
	_, err := New(t.Context(), Options{URL: "http://x", Keys: w.keep})
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("keys that are none: %v", err)
	}
}
