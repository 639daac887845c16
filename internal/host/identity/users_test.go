package identity_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/identity"
)

func TestASecretOfAUserEndsWithItsTimeAndWithTheUser(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	w := open(t, t.TempDir(), start)
	ctx := t.Context()
	if _, err := w.CreateUser(ctx, "ann", []string{"developer"}); err != nil {
		t.Fatal(err)
	}
	_, token, err := w.CreateToken(ctx, identity.NewToken{User: "ann", Name: "t", Scopes: []string{"*"}, Life: 48 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	code, _, err := w.NewLogin(ctx, identity.Principal{Admin: true}, "ann")
	if err != nil {
		t.Fatal(err)
	}
	late, _, err := w.NewLogin(ctx, identity.Principal{Admin: true}, "ann")
	if err != nil {
		t.Fatal(err)
	}
	_, cookie, err := w.Login(httptest.NewRequest("POST", "/", nil), code)
	if err != nil {
		t.Fatal(err)
	}
	session := func() error {
		_, err := w.Identify(request(func(r *http.Request) { r.AddCookie(cookie) }))
		return err
	}
	byToken := func() error {
		p, err := w.Identify(bearer(token))
		if err == nil && (p.Name != "ann" || p.Admin || len(p.Groups()) != 1 || p.Groups()[0] != "penstock:developer") {
			t.Errorf("known as %+v", p)
		}
		return err
	}
	gone := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, problem.ErrUnauthenticated) {
			t.Errorf("%s: %v", what, err)
		}
	}
	w.now = start.Add(16 * time.Minute)
	_, _, err = w.Login(httptest.NewRequest("POST", "/", nil), late)
	gone("a link after its time", err)
	// Used every twenty hours the session lives on, for a week and no longer.
	for h := 20 * time.Hour; h < 7*24*time.Hour; h += 20 * time.Hour {
		w.now = start.Add(h)
		if err := session(); err != nil {
			t.Errorf("session after %s: %v", h, err)
		}
		if err := byToken(); (err == nil) != (h < 48*time.Hour) {
			t.Errorf("token after %s: %v", h, err)
		}
	}
	w.now = start.Add(7*24*time.Hour + time.Minute)
	gone("a session after a week", session())

	w.now = start.Add(time.Hour)
	if err := errors.Join(session(), byToken()); err != nil {
		t.Fatal(err)
	}
	if err := w.DeleteUser(ctx, "ann"); err != nil {
		t.Fatal(err)
	}
	gone("the session of a user who is no more", session())
	gone("the token of a user who is no more", byToken())
}

// FuzzAuthorization feeds every shape of credentials: no one is let in, and
// nothing breaks.
func FuzzAuthorization(f *testing.F) {
	for _, s := range []string{"Bearer x", "basic Og==", "token ", "Basic !!!", "Bearer pst_", "Digest a=b", "Bearer  psu_0"} {
		f.Add(s, "penstock_session=pss_0")
	}
	f.Add("", `penstock_session="pss_0; a=b`)
	w := open(f, f.TempDir(), time.Now())
	f.Fuzz(func(t *testing.T, authorization, cookie string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Authorization"], r.Header["Cookie"] = []string{authorization}, []string{cookie}
		if p, err := w.Identify(r); err == nil {
			t.Errorf("%q, %q came in as %+v", authorization, cookie, p)
		}
	})
}
