//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/base/id"
)

// secretsStay uses every kind of secret, also in requests that fail, and then
// looks for them in all files, logs, answers and outputs.
func (f *faults) secretsStay(t *testing.T) {
	c := &canaries{faults: f, at: map[string]string{}, said: map[string][]byte{}}
	f.Run(t, "repo", "create", sourceOfCanary)
	c.takeTokens(t)
	c.takeSession(t)
	c.takeJobToken(t)
	c.takeMirror(t)
	c.takeDatabase(t)
	c.refused(t)
	c.answers(t)
	c.outputs(t)
	c.search(t)
}

// canaries are secrets and what was said since they were used.
type canaries struct {
	*faults
	at    map[string]string // which secret it is: its value
	said  map[string][]byte // where: what
	bytes int64             // searched
}

func (c *canaries) add(t *testing.T, what, value string) {
	t.Helper()
	if len(value) < 16 || strings.ContainsAny(value, " \n") {
		t.Fatalf("%s does not look like a secret: %q", what, value)
	}
	c.at[what] = value
}

func (c *canaries) file(t *testing.T, what, name string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(c.DataDir, name))
	if err != nil {
		t.Fatal(err)
	}
	c.add(t, what, strings.TrimSpace(string(b)))
}

func (c *canaries) takeTokens(t *testing.T) {
	c.file(t, "the admin token", "admin.token")
	c.file(t, "the node's token", filepath.Join("registry", "node.token"))
	keys, err := os.ReadFile(filepath.Join(c.DataDir, "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(string(keys))
	c.add(t, "the master key", words[len(words)-1])
	var token struct{ Secret string }
	c.JSON(t, &token, "token", "create", "canary")
	c.add(t, "an API token", token.Secret)
	// As the password of a registry and of git.
	if code, _ := c.request(t, "login to the registry", http.MethodGet, "/v2/", nil, func(r *http.Request) { r.SetBasicAuth("canary", token.Secret) }); code != http.StatusOK {
		t.Errorf("the registry answers the token with %d", code)
	}
	if code, _ := c.request(t, "git with a token", http.MethodGet, "/git/"+sourceOfCanary+".git/info/refs?service=git-upload-pack", nil, func(r *http.Request) { r.SetBasicAuth("x", token.Secret) }); code != http.StatusOK {
		t.Errorf("git is answered with %d", code)
	}
}

// takeSession logs a browser in, and in again with a link that is used up.
func (c *canaries) takeSession(t *testing.T) {
	var link struct{ URL string }
	c.JSON(t, &link, "login-link")
	_, code, _ := strings.Cut(link.URL, "#")
	c.add(t, "the code of a login link", code)
	body := fmt.Sprintf(`{"code":%q}`, code)
	status, header := c.request(t, "log in", http.MethodPost, "/api/v1/session", strings.NewReader(body), nil)
	cookies := (&http.Response{Header: header}).Cookies()
	if status/100 != 2 || len(cookies) != 1 {
		t.Fatalf("log in: %d, %d cookies", status, len(cookies))
	}
	c.add(t, "a session", cookies[0].Value)
	c.request(t, "log in again", http.MethodPost, "/api/v1/session", strings.NewReader(body), nil)
	c.request(t, "log in with more than a code", http.MethodPost, "/api/v1/session", strings.NewReader(fmt.Sprintf(`{"code":%q,"other":%q}`, code, code)), nil)
	c.request(t, "log in with too long a code", http.MethodPost, "/api/v1/session", strings.NewReader(fmt.Sprintf(`{"code":%q}`, strings.Repeat(code, 9))), nil)
	c.request(t, "log in with text", http.MethodPost, "/api/v1/session", strings.NewReader(code), nil)
	session := func(r *http.Request) { r.AddCookie(cookies[0]) }
	if status, _ := c.request(t, "who am I", http.MethodGet, "/api/v1/me", nil, session); status != http.StatusOK {
		t.Errorf("the session is answered with %d", status)
	}
	c.request(t, "write without a CSRF header", http.MethodPost, "/api/v1/repos", strings.NewReader(`{"name":"faults/x"}`), session)
}

const sourceOfCanary = "faults/canary"

// takeJobToken runs a job that says its token, as it is, which must be masked,
// and in a form that nobody can mask, which is how the test learns it.
func (c *canaries) takeJobToken(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, ".github/workflows/say.yml", `on: push
jobs:
  say:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: |
          echo "token: $TOKEN"
          echo "::warning::token $TOKEN"
          echo "token $TOKEN" >> "$GITHUB_STEP_SUMMARY"
          printf 'hex:%s\n' "$(printf %s "$TOKEN" | od -An -v -tx1 | tr -d ' \n')"
        env:
          TOKEN: ${{ github.token }}
`)
	c.begin(t, dir, sourceOfCanary)
	c.Git(t, dir, "push", "-q", "origin", "main")
	var run ciRun
	Eventually(t, 2*time.Minute, "the run of the canary", func(context.Context) error {
		list := c.runs(t, sourceOfCanary)
		if len(list) != 1 || list[0].Status != "completed" {
			return fmt.Errorf("%+v", list)
		}
		run = list[0]
		return nil
	})
	log := c.Run(t, "ci", "logs", fmt.Sprint(run.ID))
	_, rest, ok := strings.Cut(log, "hex:")
	for ok && strings.HasPrefix(rest, "%") { // the command is shown before it runs
		_, rest, ok = strings.Cut(rest, "hex:")
	}
	text, _, _ := strings.Cut(rest, "\n")
	token, err := hex.DecodeString(strings.TrimSpace(text))
	if err != nil || run.Conclusion != "success" || !strings.Contains(log, "token: ***") {
		t.Fatalf("%v, a %s, the log is\n%s", err, run.Conclusion, log)
	}
	c.add(t, "the token of a job", string(token))
}

// takeMirror mirrors a repository that wants a password, also while the other
// side is away.
func (c *canaries) takeMirror(t *testing.T) {
	password, admin := id.Secret("canary_"), c.at["the admin token"]
	target := &url.URL{Scheme: "http", Host: c.Server}
	asked := 0
	far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, given, _ := r.BasicAuth(); given != password {
			w.Header().Set("WWW-Authenticate", "Basic")
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		asked++
		(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(target)
			p.Out.SetBasicAuth("x", admin)
		}}).ServeHTTP(w, r)
	}))
	defer far.Close()
	c.add(t, "the password of a mirror", password)
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	address := far.URL + "/git/" + sourceOfCanary + ".git"
	c.say("repo import", c.both(t, "repo", "import", "faults/imported", address, "--username", "bot", "--password-file", file, "-o", "json"))
	c.say("repo mirror", c.both(t, "repo", "mirror", "faults/mirrored", address, "--username", "bot", "--password-file", file, "-o", "json"))
	if asked == 0 {
		t.Fatalf("the other side was not asked with the password: %s", c.said["repo mirror"])
	}
	far.Close()
	c.say("repo mirror --sync, the other side away", c.both(t, "repo", "mirror", "--sync", "faults/mirrored", "-o", "json"))
	c.say("repo import, the other side away", c.both(t, "repo", "import", "faults/away", address, "--username", "bot", "--password-file", file, "-o", "json"))
	c.say("repo import, with the password in the address", c.both(t, "repo", "import", "faults/away", "http://bot:"+password+"@127.0.0.1:9/x.git", "-o", "json"))
	c.request(t, "import with a password of the wrong kind", http.MethodPost, "/api/v1/repos/import", strings.NewReader(fmt.Sprintf(`{"url":1,"password":%q,"username":{"a":%q}}`, password, password)), c.admin)
}

// takeDatabase starts a server for a database that is not there.
func (c *canaries) takeDatabase(t *testing.T) {
	password := id.Secret("canary_")
	c.add(t, "the password of the database", password)
	dir := t.TempDir()
	file := filepath.Join(dir, "database")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close() // nobody listens there
	address := fmt.Sprintf("postgres://penstock:%s@%s/penstock?sslmode=disable&connect_timeout=2", password, l.Addr())
	if err := os.WriteFile(file, []byte(address+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for where, run := range map[string]struct{ args, env []string }{
		"server --database-file":         {args: []string{"--database-file", file}},
		"server, PENSTOCK_DATABASE":      {env: []string{"PENSTOCK_DATABASE=" + address}},
		"server, a URL that is no URL":   {env: []string{"PENSTOCK_DATABASE=" + strings.Replace(address, "@", "@%zz", 1)}},
		"server, PENSTOCK_DATABASE_FILE": {env: []string{"PENSTOCK_DATABASE_FILE=" + file}},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cmd := exec.CommandContext(ctx, filepath.Join(c.Bin, "penstock"), append([]string{"server", "--listen", "127.0.0.1:0", "--data-dir", dir}, run.args...)...)
		cmd.Env = append(os.Environ(), run.env...)
		out, err := cmd.CombinedOutput()
		cancel()
		if err == nil {
			t.Errorf("%s: a server without its database started", where)
		}
		c.said[where] = out
	}
}

// refused sends secrets where they do not belong and where they are wrong.
func (c *canaries) refused(t *testing.T) {
	for what, secret := range c.at {
		q := url.Values{"access_token": {secret}, "token": {secret}}.Encode()
		for path, set := range map[string]func(*http.Request){
			"/api/v1/me":                     func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+secret+"x") },
			"/api/v1/repos?limit=0":          c.admin,
			"/git/faults/canary.git/HEAD":    func(r *http.Request) { r.SetBasicAuth("x", secret+"x") },
			"/v2/faults/canary/tags/list":    func(r *http.Request) { r.SetBasicAuth("x", secret+"x") },
			"/api/v1/runs/1/logs?" + "wrong": func(r *http.Request) { r.Header.Set("Cookie", "penstock_session="+secret+"x") },
		} {
			c.request(t, what+" refused at "+path, http.MethodGet, path, nil, set)
		}
		// In addresses, which end up in logs.
		for _, path := range []string{"/api/v1/me", "/api/v1/repos", "/git/faults/canary.git/info/refs", "/v2/", "/"} {
			c.request(t, "", http.MethodGet, path+"?"+q, nil, nil)
		}
		if out, err := c.TryGit(t.TempDir(), "-c", "credential.helper=", "ls-remote", "http://x:"+secret+"x@penstock.localhost:7080/git/faults/canary.git"); err == nil {
			t.Errorf("git was let in with %s and one letter more: %s", what, out)
		}
	}
}

func (c *canaries) admin(r *http.Request) { r.SetBasicAuth("x", c.at["the admin token"]) }

func (c *canaries) say(where string, b []byte) { c.said[where] = append(c.said[where], b...) }

// request keeps the answer, but not what was asked for: cookies.
func (c *canaries) request(t *testing.T, where, method, path string, body io.Reader, set func(*http.Request)) (int, http.Header) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.Server+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "penstock.localhost:7080"
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if set != nil {
		set(req)
	}
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if where != "" {
		h := res.Header.Clone()
		h.Del("Set-Cookie")
		c.say("answer: "+where, fmt.Appendf(nil, "%s\n%v", b, h))
	}
	return res.StatusCode, res.Header
}

// answers asks for everything that can be asked for without a name, as the API
// describes itself, and for all logs.
func (c *canaries) answers(t *testing.T) {
	c.request(t, "openapi", http.MethodGet, "/api/openapi.json", nil, c.admin)
	var api struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.NewDecoder(bytes.NewReader(c.said["answer: openapi"])).Decode(&api); err != nil {
		t.Fatal(err)
	}
	asked := 0
	for path, methods := range api.Paths {
		if _, ok := methods["get"]; !ok || strings.Contains(path, "{") || strings.Contains(path, "stream") {
			continue
		}
		asked++
		if code, _ := c.request(t, path, http.MethodGet, path, nil, c.admin); code/100 == 5 {
			t.Errorf("GET %s is answered with %d", path, code)
		}
	}
	if asked < 8 {
		t.Errorf("only %d addresses of the API were asked", asked)
	}
	for _, path := range []string{"/metrics", "/readyz", "/livez", "/version", "/v2/_catalog", "/", "/login"} {
		c.request(t, path, http.MethodGet, path, nil, c.admin)
	}
	for _, r := range c.runs(t, "") {
		for _, path := range []string{"", "/logs"} {
			c.request(t, "", http.MethodGet, fmt.Sprintf("/api/v1/runs/%d%s", r.ID, path), nil, c.admin)
		}
		c.say("ci logs", c.both(t, "ci", "logs", fmt.Sprint(r.ID)))
	}
}

// both returns what a command printed, whether it succeeded or not.
func (c *canaries) both(t *testing.T, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := c.Cmd(ctx, args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out
}

// outputs are what commands print for programs.
func (c *canaries) outputs(t *testing.T) {
	for _, args := range []string{
		"status", "version", "doctor", "repo list", "repo get faults/mirrored", "repo alias list", "ci list", "app list",
		"app get bench-app", "token list --all", "user list", "audit", "image list", "image alias",
	} {
		out := c.both(t, append(strings.Fields(args), "-o", "json")...)
		if len(out) == 0 {
			t.Errorf("penstock %s prints nothing", args)
		}
		c.say("penstock "+args, out)
	}
}
