package identity_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/identity"
	"github.com/penstock-dev/penstock/internal/host/store"
	"github.com/penstock-dev/penstock/internal/host/store/storetest"
)

type world struct {
	*identity.Keeper
	db    *store.DB
	dir   string
	now   time.Time
	log   bytes.Buffer
	admin string
}

func open(t testing.TB, dir string, now time.Time) *world {
	t.Helper()
	w := &world{dir: dir, now: now}
	where, err := storetest.Where(dir)
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.Context(), where)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	w.db = db
	w.Keeper, err = identity.New(t.Context(), identity.Options{
		DB: db, TokenFile: filepath.Join(dir, "admin.token"),
		Now: func() time.Time { return w.now },
		Log: slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	w.admin = strings.TrimSpace(string(b))
	return w
}

func request(set func(r *http.Request)) *http.Request {
	r := httptest.NewRequest("GET", "/git/demo/shop.git/info/refs", nil)
	if set != nil {
		set(r)
	}
	return r
}

func bearer(token string) *http.Request {
	return request(func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) })
}

func TestAdminTokenIsMadeOnceAndOpensEverything(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir, time.Now())
	w.db.Close()
	again := open(t, dir, time.Now())
	if w.admin != again.admin || len(w.admin) != 44 {
		t.Errorf("tokens %d and %d characters long, same: %t", len(w.admin), len(again.admin), w.admin == again.admin)
	}
	w = again
	fi, err := os.Stat(filepath.Join(dir, "admin.token"))
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	for name, set := range map[string]func(r *http.Request){
		"bearer":             func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+w.admin) },
		"bearer, any case":   func(r *http.Request) { r.Header.Set("Authorization", "bearer  "+w.admin) },
		"token":              func(r *http.Request) { r.Header.Set("Authorization", "token "+w.admin) },
		"basic":              func(r *http.Request) { r.SetBasicAuth("anyone", w.admin) },
		"basic without user": func(r *http.Request) { r.SetBasicAuth("", w.admin) },
	} {
		if p, err := w.Authenticate(request(set)); p.Name != "admin" || !p.Admin || err != nil {
			t.Errorf("%s: %q, %v", name, p.Name, err)
		}
		if user, err := w.AuthorizeGit(request(set), "any/thing", true); user != "admin" || err != nil {
			t.Errorf("%s: git: %q, %v", name, user, err)
		}
	}
	for name, set := range map[string]func(r *http.Request){
		"nothing":         nil,
		"empty bearer":    func(r *http.Request) { r.Header.Set("Authorization", "Bearer ") },
		"empty password":  func(r *http.Request) { r.SetBasicAuth(w.admin, "") },
		"other scheme":    func(r *http.Request) { r.Header.Set("Authorization", "Digest "+w.admin) },
		"wrong":           func(r *http.Request) { r.Header.Set("Authorization", "Bearer pst_x") },
		"one digit short": func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+w.admin[:43]) },
		"in the query":    func(r *http.Request) { r.URL.RawQuery = "access_token=" + w.admin },
	} {
		if p, err := w.Authenticate(request(set)); p.Name != "" || !errors.Is(err, problem.ErrUnauthenticated) {
			t.Errorf("%s: %q, %v; want unauthenticated", name, p.Name, err)
		}
	}
}

func TestAnUnsafeOrBrokenTokenFileIsRefused(t *testing.T) {
	good := "pst_" + strings.Repeat("0", 40) + "\n"
	for _, tc := range []struct {
		content string
		mode    os.FileMode
		want    string
	}{
		{good, 0o644, "mode 0644"},
		{good, 0o640, "mode 0640"},
		{"", 0o600, "holds no token"},
		{"secret\n", 0o600, "holds no token"},
		{good + good, 0o600, "holds no token"},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "admin.token")
		if err := os.WriteFile(path, []byte(tc.content), tc.mode); err != nil {
			t.Fatal(err)
		}
		db, err := store.Open(t.Context(), filepath.Join(dir, "db"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = identity.New(t.Context(), identity.Options{DB: db, TokenFile: path})
		db.Close()
		var p *problem.Error
		if !errors.As(err, &p) || p.Hint == "" || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q, mode %o: %v", tc.content, tc.mode, err)
		}
		if b, _ := os.ReadFile(path); string(b) != tc.content {
			t.Errorf("%q was replaced by %q", tc.content, b)
		}
	}
}

func TestAJobTokenOpensItsScopeUntilItEnds(t *testing.T) {
	dir := t.TempDir()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	w := open(t, dir, start)
	ctx := t.Context()
	job := identity.Job{Run: 7, Job: "deploy"}
	token, err := w.Issue(ctx, job, identity.Scope{Read: []string{"demo/*", "other/lib"}, Write: []string{"demo/manifests"}}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		repo        string
		read, write bool
	}{
		{"demo/shop", true, false},
		{"demo/manifests", true, true},
		{"other/lib", true, false},
		{"other/library", false, false},
		{"other/li", false, false},
		{"demo2/shop", false, false},
		{"demo", false, false},
		{"", false, false},
		{"*/shop", false, false},
	} {
		for _, write := range []bool{false, true} {
			want := tc.read
			if write {
				want = tc.write
			}
			user, err := w.AuthorizeGit(bearer(token), tc.repo, write)
			if (err == nil) != want || (want && user != "run/7/deploy") {
				t.Errorf("%s, write %t: %q, %v; want %t", tc.repo, write, user, err, want)
			}
			if err != nil && (!errors.Is(err, problem.ErrForbidden) || errors.Is(err, problem.ErrUnauthenticated)) {
				t.Errorf("%s: %v is not a refusal of known credentials", tc.repo, err)
			}
		}
	}
	if _, err := w.Authenticate(bearer(token)); !errors.Is(err, problem.ErrForbidden) || errors.Is(err, problem.ErrUnauthenticated) {
		t.Errorf("a job token at the API: %v", err)
	}

	w.db.Close()
	later := open(t, dir, start.Add(59*time.Minute)) // a restarted server still knows it
	if _, err := later.Identify(bearer(token)); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	later.now = start.Add(time.Hour)
	if _, err := later.Identify(bearer(token)); !errors.Is(err, problem.ErrUnauthenticated) {
		t.Errorf("after its time: %v", err)
	}
	later.db.Close()
	w = open(t, dir, start)
	if err := w.Revoke(ctx, identity.Job{Run: 7, Job: "test"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Identify(bearer(token)); err != nil {
		t.Errorf("after another job's end: %v", err)
	}
	if err := w.Revoke(ctx, job); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Identify(bearer(token)); !errors.Is(err, problem.ErrUnauthenticated) {
		t.Errorf("after its end: %v", err)
	}
	w.db.Close()
	if _, err := open(t, dir, start).Identify(bearer(token)); err == nil {
		t.Error("a revoked token came back with a restart")
	}
}

func TestIssueRefusesWhatItCannotBound(t *testing.T) {
	w := open(t, t.TempDir(), time.Now())
	for name, f := range map[string]func() (string, error){
		"no run": func() (string, error) {
			return w.Issue(t.Context(), identity.Job{Job: "a"}, identity.Scope{}, time.Hour)
		},
		"no job": func() (string, error) { return w.Issue(t.Context(), identity.Job{Run: 1}, identity.Scope{}, time.Hour) },
		"no end": func() (string, error) {
			return w.Issue(t.Context(), identity.Job{Run: 1, Job: "a"}, identity.Scope{}, 0)
		},
		"late end": func() (string, error) {
			return w.Issue(t.Context(), identity.Job{Run: 1, Job: "a"}, identity.Scope{}, 48*time.Hour)
		},
		"everything": func() (string, error) {
			return w.Issue(t.Context(), identity.Job{Run: 1, Job: "a"}, identity.Scope{Read: []string{"*/*"}}, time.Hour)
		},
		"no slash": func() (string, error) {
			return w.Issue(t.Context(), identity.Job{Run: 1, Job: "a"}, identity.Scope{Write: []string{"demo"}}, time.Hour)
		},
	} {
		if token, err := f(); token != "" || !errors.Is(err, problem.ErrInvalid) {
			t.Errorf("%s: %q, %v", name, token, err)
		}
	}
}

func TestGuessingIsThrottledAndLocksNobodyOut(t *testing.T) {
	w := open(t, t.TempDir(), time.Now())
	guess := func(addr string) error {
		r := bearer("pst_" + strings.Repeat("f", 40))
		r.RemoteAddr = addr
		_, err := w.Identify(r)
		return err
	}
	var throttled *identity.Throttled
	for i := range 20 {
		if err := guess("192.0.2.1:1000"); errors.As(err, &throttled) {
			t.Fatalf("attempt %d: %v", i, err)
		}
	}
	err := guess("192.0.2.1:2000")
	if !errors.As(err, &throttled) || throttled.RetryAfter() <= 0 || throttled.RetryAfter() > 3*time.Second {
		t.Fatalf("after 20 failures: %v", err)
	}
	if err := guess("192.0.2.2:1000"); errors.As(err, &throttled) {
		t.Errorf("another address: %v", err)
	}
	good := bearer(w.admin)
	good.RemoteAddr = "192.0.2.1:3000"
	if _, err := w.Identify(good); err != nil {
		t.Errorf("the right token from the same address: %v", err)
	}
	w.now = w.now.Add(throttled.RetryAfter())
	if err := guess("192.0.2.1:1000"); errors.As(err, &throttled) {
		t.Errorf("after the wait: %v", err)
	}
	for i := range 10_000 { // the memory of failures is bounded and still works
		if err := guess(fmt.Sprintf("198.51.%d.%d:1", i>>8, i&255)); errors.As(err, &throttled) {
			t.Fatalf("first failure of an address: %v", err)
		}
	}
}

func TestNoTokenIsEverWritten(t *testing.T) {
	w := open(t, t.TempDir(), time.Now())
	token, err := w.Issue(t.Context(), identity.Job{Run: 1, Job: "a"}, identity.Scope{Read: []string{"demo/shop"}}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	const guess = "pst_guessed_secret"
	var said strings.Builder
	for _, tok := range []string{w.admin, token, guess} {
		p, err := w.Identify(bearer(tok))
		_, err2 := w.AuthorizeGit(bearer(tok), "other/repo", true)
		_, err3 := w.Authenticate(bearer(tok))
		fmt.Fprintf(&said, "%+v %v %v %v\n", p, err, err2, err3)
	}
	said.WriteString(w.log.String())
	if !strings.Contains(said.String(), "authentication failed") {
		t.Fatal("the failure was not logged, so this test shows nothing")
	}
	for _, tok := range []string{w.admin, token, guess} {
		if strings.Contains(said.String(), tok) {
			t.Errorf("a token was written: %s", said.String())
		}
	}
	for _, f := range []string{"store.sqlite", "store.sqlite-wal"} {
		b, err := os.ReadFile(filepath.Join(w.dir, f))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(token)) || bytes.Contains(b, []byte(w.admin)) {
			t.Errorf("%s holds a token", f)
		}
	}
}
