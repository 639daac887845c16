package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/penstock-dev/penstock/internal/ci/runs"
	"github.com/penstock-dev/penstock/internal/host/access"
	"github.com/penstock-dev/penstock/internal/host/audit"
)

// allRuns is the run that every sample is about.
var allRuns = runs.Run{ID: 1, Repo: "demo/shop", Status: runs.Completed, Jobs: []runs.Job{{Key: "build", Name: "build"}}}

// as returns a caller of the world.
func (w *authWorld) as(t *testing.T, name string) caller {
	t.Helper()
	for _, c := range w.people {
		if c.name == name {
			return c
		}
	}
	t.Fatalf("nobody is %s", name)
	return caller{}
}

// do makes a request as somebody. headers come in pairs.
func (w *authWorld) do(t *testing.T, who, method, path, body string, headers ...string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, w.server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if who != "" {
		for k, v := range w.as(t, who).header {
			req.Header.Set(k, v)
		}
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

// reposOnly has repositories of two owners.
func reposOnly(a *API, _ *authWorld) {
	a.Repos(&memory{{Name: "demo/a"}, {Name: "other/b"}, {Name: "demo/c"}, {Name: "demo/d"}, {Name: "other/e"}})
}

func TestListsShowWhatIsTheirs(t *testing.T) {
	w := newAuthWorld(t, reposOnly)
	names := func(who, query string) (names []string, next string) {
		t.Helper()
		code, _, b := w.do(t, who, "GET", "/api/v1/repos?"+query, "")
		var page Page[Repo]
		if code != 200 || json.Unmarshal([]byte(b), &page) != nil {
			t.Fatalf("%d %s", code, b)
		}
		for _, r := range page.Items {
			names = append(names, r.Name)
		}
		return names, page.Next
	}
	for _, tc := range []struct{ who, query, want string }{
		{"the-reader", "", "[demo/a demo/c demo/d other/b other/e]"},
		{"the-reader", "sort=-name", "[other/e other/b demo/d demo/c demo/a]"},
		{"the-reader", "owner=other", "[other/b other/e]"},
		{"foreign", "", "[other/b other/e]"},
		{"foreign", "owner=other&sort=-name", "[other/e other/b]"},
		{"nobody-special", "", "[]"},
		{"machine-admin", "limit=500", "[demo/a demo/c demo/d other/b other/e]"},
	} {
		if got, _ := names(tc.who, tc.query); fmt.Sprint(got) != tc.want {
			t.Errorf("%s, %s: %v, want %s", tc.who, tc.query, got, tc.want)
		}
	}
	var all []string
	query := "limit=2"
	for range 10 {
		some, next := names("the-reader", query)
		if len(some) > 2 {
			t.Errorf("a piece of %d", len(some))
		}
		all = append(all, some...)
		if next == "" {
			break
		}
		query = "limit=2&cursor=" + next
	}
	if fmt.Sprint(all) != "[demo/a demo/c demo/d other/b other/e]" {
		t.Errorf("in pieces: %v", all)
	}
	for _, bad := range []string{"limit=0", "limit=501", "limit=x", "cursor=abc", "sort=size", query + "&sort=-name"} {
		if code, _, b := w.do(t, "the-reader", "GET", "/api/v1/repos?"+bad, ""); code != 422 && code != 400 {
			t.Errorf("%s: %d %s", bad, code, b)
		}
	}
	if code, _, _ := w.do(t, "foreign", "GET", "/api/v1/repos?owner=demo", ""); code != 403 {
		t.Errorf("somebody else's: %d", code)
	}
	if code, _, _ := w.do(t, "foreign", "GET", "/api/v1/repos/other/b", ""); code != 200 {
		t.Errorf("their own: %d", code)
	}
}

// TestWithoutAClusterNobodyButTheMachinesAdministrator comes in.
func TestWithoutAClusterNobodyButTheMachinesAdministrator(t *testing.T) {
	w := newAuthWorld(t, reposOnly)
	w.rbac.Down.Store(true)
	for who, want := range map[string]int{"machine-admin": 200, "the-admin": 503, "the-reader": 503, "foreign": 503, "narrow-admin": 403} {
		if code, _, b := w.do(t, who, "GET", "/api/v1/repos", ""); code != want {
			t.Errorf("%s: %d, want %d: %s", who, code, want, b)
		}
	}
	if code, _, _ := w.do(t, "the-reader", "GET", "/api/v1/me", ""); code != 200 {
		t.Errorf("who they are: %d", code)
	}
}

func TestAPostWithAKeyHappensOnce(t *testing.T) {
	w := newAuthWorld(t, reposOnly)
	post := func(who, key, body string) (int, string, string) {
		t.Helper()
		code, h, b := w.do(t, who, "POST", "/api/v1/repos", body, "Idempotency-Key", key)
		return code, h.Get("Idempotent-Replayed"), b
	}
	const x = `{"name":"demo/x"}`
	code, again, first := post("the-developer", "k1", x)
	if code != 201 || again != "" {
		t.Fatalf("%d %s", code, first)
	}
	if code, again, b := post("the-developer", "k1", x); code != 201 || again != "true" || b != first {
		t.Errorf("again: %d %s %s, want %s", code, again, b, first)
	}
	if code, _, b := post("the-developer", "k1", `{"name":"demo/y"}`); code != 422 || !strings.Contains(b, "another request") {
		t.Errorf("another body: %d %s", code, b)
	}
	if code, _, _ := post("the-developer", "k2", x); code != 409 {
		t.Errorf("another key: %d", code)
	}
	if code, again, _ := post("the-developer", "k2", x); code != 409 || again != "true" {
		t.Errorf("a refusal again: %d %s", code, again)
	}
	if code, _, _ := post("the-admin", "k1", `{"name":"demo/z"}`); code != 201 {
		t.Errorf("somebody else's key of that name: %d", code)
	}
	for _, bad := range []string{"with blank", strings.Repeat("k", 256)} {
		if code, _, _ := post("the-developer", bad, x); code != 400 {
			t.Errorf("key %q: %d", bad, code)
		}
	}
	if code, _, b := w.do(t, "the-developer", "POST", "/api/v1/tokens", `{"name":"t"}`, "Idempotency-Key", "k3"); code != 400 || !strings.Contains(b, "not kept") {
		t.Errorf("an answer that holds a secret: %d %s", code, b)
	}
	// Of many at once, one happens; the others hear that, or of its outcome.
	var wg sync.WaitGroup
	var mu sync.Mutex
	codes := map[int]int{}
	for range 10 {
		wg.Go(func() {
			code, _, _ := post("the-developer", "k4", `{"name":"demo/many"}`)
			mu.Lock()
			defer mu.Unlock()
			codes[code]++
		})
	}
	wg.Wait()
	if codes[201] < 1 || codes[201]+codes[409] != 10 {
		t.Errorf("answers: %v", codes)
	}
}

func TestEveryWriteIsInTheAuditLog(t *testing.T) {
	w := newAuthWorld(t, reposOnly)
	_, h, _ := w.do(t, "the-developer", "POST", "/api/v1/repos", `{"name":"demo/new"}`)
	w.do(t, "the-developer", "POST", "/api/v1/repos", `{"name":"demo/new"}`)
	w.do(t, "the-reader", "POST", "/api/v1/repos", `{"name":"demo/other"}`)
	w.do(t, "the-admin", "POST", "/api/v1/users", `{"name":"zoe","roles":["reader"]}`)
	w.do(t, "the-reader", "GET", "/api/v1/repos", "")
	w.do(t, "anonymous", "POST", "/api/v1/repos", `{"name":"demo/q"}`)
	var page Page[audit.Entry]
	code, _, b := w.do(t, "the-admin", "GET", "/api/v1/audit", "")
	if code != 200 || json.Unmarshal([]byte(b), &page) != nil {
		t.Fatalf("%d %s", code, b)
	}
	var got []string
	for _, e := range page.Items {
		got = append(got, fmt.Sprintf("%s %s %s %s/%s %s", e.Actor, e.Operation, e.Resource, e.Project, e.Name, e.Outcome))
		if e.Request == "" || e.Remote == "" || !strings.HasPrefix(e.Via, "token/") || e.Time.IsZero() {
			t.Errorf("an entry without its circumstances: %+v", e)
		}
	}
	want := []string{
		"the-admin create-user users /zoe succeeded",
		"the-reader create-repo repositories demo/other refused",
		"the-developer create-repo repositories demo/new failed",
		"the-developer create-repo repositories demo/new succeeded",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the log says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if last := page.Items[len(page.Items)-1]; last.Request != h.Get("X-Request-Id") {
		t.Errorf("request %s, the answer said %s", last.Request, h.Get("X-Request-Id"))
	}
	// Who sees one project only sees its entries.
	w.rbac.Grants = append(w.rbac.Grants, access.Grant{User: "foreign", Role: "admin", Project: "demo"})
	_, _, b = w.do(t, "foreign", "GET", "/api/v1/audit", "")
	if strings.Contains(b, "zoe") || !strings.Contains(b, "demo") {
		t.Errorf("an admin of demo sees %s", b)
	}
}

func TestABrowserLogsInAndOut(t *testing.T) {
	w := newAuthWorld(t, reposOnly)
	code, _, b := w.do(t, "the-admin", "POST", "/api/v1/login-links", `{"user":"the-developer"}`)
	var link Link
	if code != 201 || json.Unmarshal([]byte(b), &link) != nil {
		t.Fatalf("%d %s", code, b)
	}
	if code, _, _ := w.do(t, "the-admin", "POST", "/api/v1/login-links", `{"user":"admin"}`); code != 403 {
		t.Errorf("a link for the machine's administrator by somebody else: %d", code)
	}
	if code, _, _ := w.do(t, "narrow-admin", "POST", "/api/v1/login-links", `{}`); code != 403 {
		t.Errorf("a link by a narrow token: %d", code)
	}
	_, secret, _ := strings.Cut(link.URL, "#")
	login := fmt.Sprintf(`{"code":%q}`, secret)
	code, h, b := w.do(t, "", "POST", "/api/v1/session", login)
	var me Me
	if code != 200 || json.Unmarshal([]byte(b), &me) != nil || me.Name != "the-developer" || me.CSRF == "" {
		t.Fatalf("%d %s", code, b)
	}
	set := h.Get("Set-Cookie")
	for _, part := range []string{"HttpOnly", "SameSite=Strict", "Path=/"} {
		if !strings.Contains(set, part) {
			t.Errorf("cookie without %s: %s", part, set)
		}
	}
	cookie, _, _ := strings.Cut(set, ";")
	if code, _, _ := w.do(t, "", "POST", "/api/v1/session", login); code != 401 {
		t.Errorf("the link once more: %d", code)
	}
	try := func(method, path, body string, headers ...string) int {
		code, _, _ := w.do(t, "", method, path, body, append(headers, "Cookie", cookie)...)
		return code
	}
	if code := try("GET", "/api/v1/repos", ""); code != 200 {
		t.Errorf("a read: %d", code)
	}
	const body = `{"name":"demo/web"}`
	if code := try("POST", "/api/v1/repos", body); code != 403 {
		t.Errorf("a write that another page may have sent: %d", code)
	}
	if code := try("POST", "/api/v1/repos", body, "X-Penstock-CSRF", me.CSRF+"0"); code != 403 {
		t.Errorf("a write with something else: %d", code)
	}
	if code := try("POST", "/api/v1/repos", body, "X-Penstock-CSRF", me.CSRF); code != 201 {
		t.Errorf("a write of our own page: %d", code)
	}
	if code, _, _ := w.do(t, "", "GET", "/api/v1/repos", "", "Cookie", cookie+"; "+cookie); code != 401 {
		t.Errorf("two cookies: %d", code)
	}
	if code := try("DELETE", "/api/v1/session", "", "X-Penstock-CSRF", me.CSRF); code != 204 {
		t.Errorf("log out: %d", code)
	}
	if code := try("GET", "/api/v1/repos", ""); code != 401 {
		t.Errorf("after it: %d", code)
	}
}

// TestNoSecretIsShownAgain tries everything with secrets in every place where
// they come, and looks for them in answers, logs and files.
func TestNoSecretIsShownAgain(t *testing.T) {
	w := newAuthWorld(t, everything(t))
	var shown bytes.Buffer
	for _, op := range operations(w.api) {
		if op.OperationID == "get-stream" {
			continue
		}
		for _, c := range w.people {
			req := op.request(t, w.api, w.server.URL)
			for k, v := range c.header {
				req.Header.Set(k, v)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if op.OperationID != "create-token" && op.OperationID != "create-login-link" {
				for k, v := range resp.Header {
					fmt.Fprintln(&shown, k, v)
				}
				_, _ = io.Copy(&shown, resp.Body)
			}
			resp.Body.Close()
		}
	}
	for name, secret := range w.secrets {
		for _, req := range [][2]string{{"Authorization", "Bearer " + secret + "x"}, {"Authorization", "Digest " + secret}, {"Cookie", "penstock_session=" + secret}, {"Idempotency-Key", secret}} {
			for _, path := range []string{"/api/v1/repos?token=" + secret, "/api/v1/" + name, "/nothing"} {
				_, _, b := w.do(t, "", "GET", strings.ReplaceAll(path, " ", "-"), "", req[0], req[1])
				shown.WriteString(strings.ReplaceAll(b, "/api/v1/"+name, ""))
			}
		}
	}
	files := map[string][]byte{"answers": shown.Bytes(), "log": []byte(w.log.String())}
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() == "admin.token" {
			continue // its home
		}
		b, err := os.ReadFile(filepath.Join(w.dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = b
	}
	if len(files) < 3 || len(w.secrets) < 10 || shown.Len() < 10_000 {
		t.Fatalf("%d files, %d secrets, %d bytes of answers: nothing was looked at", len(files), len(w.secrets), shown.Len())
	}
	for name, secret := range w.secrets {
		for file, b := range files {
			if bytes.Contains(b, []byte(secret)) {
				t.Errorf("%s holds the secret of %s", file, name)
			}
		}
	}
}

func TestTokensOfNarrowTokensAreNarrow(t *testing.T) {
	w := newAuthWorld(t, reposOnly)
	for _, tc := range []struct {
		body string
		code int
	}{
		{`{"name":"a"}`, 403},
		{`{"name":"a","scopes":["runs:write"]}`, 403},
		{`{"name":"a","scopes":["read"]}`, 403},
		{`{"name":"a","scopes":["runs:read"]}`, 201},
		{`{"name":"a","scopes":["runs:read"],"projects":["demo"]}`, 201},
		{`{"name":"a","scopes":["all"]}`, 403},
	} {
		if code, _, b := w.do(t, "narrow-admin", "POST", "/api/v1/tokens", tc.body); code != tc.code {
			t.Errorf("%s: %d, want %d: %s", tc.body, code, tc.code, b)
		}
	}
	for body, want := range map[string]int{
		`{"name":"a","scopes":["all"]}`: 422, `{"name":"a","expiresIn":"9000h"}`: 422, `{"name":"a","expiresIn":"0s"}`: 422,
		`{"name":"a","expiresIn":"soon"}`: 422, `{"name":"a","projects":["UP"]}`: 422, `{"name":""}`: 422,
		`{"name":"a","user":"none"}`: 404, `{"name":"a","user":"the-reader","expiresIn":"1h"}`: 201,
	} {
		if code, _, b := w.do(t, "the-admin", "POST", "/api/v1/tokens", body); code != want {
			t.Errorf("%s: %d, want %d: %s", body, code, want, b)
		}
	}
	if code, _, _ := w.do(t, "the-developer", "POST", "/api/v1/tokens", `{"name":"a","user":"the-reader"}`); code != 403 {
		t.Errorf("a token of somebody else: %d", code)
	}
}

func FuzzCursor(f *testing.F) {
	f.Add(cursor{"abc", "demo/shop"}.String())
	f.Add("e30")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := parseCursor(s)
		if err == nil && c.String() != s {
			t.Errorf("%q is %+v, which is %q", s, c, c)
		}
	})
}
