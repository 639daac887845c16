package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/face/api"
	"github.com/penstock-dev/penstock/internal/face/web"
	"github.com/penstock-dev/penstock/internal/host/identity"
	"github.com/penstock-dev/penstock/test/chromium"
)

// builtPages skips the test of a program that was built without its pages.
func builtPages(t *testing.T, next http.Handler) *web.Handler {
	t.Helper()
	h, err := web.New(next)
	if err != nil {
		t.Fatal(err)
	}
	if !h.Built() {
		t.Skip("the pages are not built; make web does")
	}
	return h
}

// TestARunInABrowser logs a real browser in by a one-time link and watches a
// run from its first line to its end, without ever loading the page anew.
func TestARunInABrowser(t *testing.T) {
	builtPages(t, nil)
	page := chromium.Open(t)
	dir := workDir(t)
	s := startServer(t, filepath.Join(dir, "data"))

	// The second line is written when the test wants it.
	gate := filepath.Join(dir, "gate")
	s.call(t, "POST", "/api/v1/repos", `{"name":"demo/shop"}`)
	s.push(t, filepath.Join(dir, "work"), `name: CI
on: push
jobs:
  test:
    name: Unit tests
    runs-on: ubuntu-latest
    steps:
      - name: Watch
        run: |
          printf 'the \033[31mfirst\033[0m line\n'
          n=0; while [ ! -e `+gate+` ] && [ $n -lt 1200 ]; do sleep 0.1; n=$((n+1)); done
          echo '::group::Details'; printf 'ins%s the group\n' ide; echo '::endgroup::'
          printf 'the %s line\n' last
`)

	page.Size(1280, 800)
	page.Go(s.url + "/runs?repo=demo%2Fshop")
	page.Shows("Log in to Penstock")
	page.Until(`location.pathname === "/login"`)
	page.Shoot("login")
	var link struct{ URL string }
	if err := json.Unmarshal([]byte(s.call(t, "POST", "/api/v1/login-links", "{}")), &link); err != nil {
		t.Fatal(err)
	}
	page.Go(link.URL)
	page.Shows("Services")
	page.Shows("demo/shop")
	page.Shoot("services")
	if c := page.Eval("document.cookie"); c != "" {
		t.Errorf("scripts see the cookie %q", c)
	}
	if a := page.Eval("location.href"); strings.Contains(a, "psl_") {
		t.Errorf("the address still holds the code: %s", a)
	}

	page.Press("g")
	page.Press("r")
	page.Until(`location.pathname === "/runs"`)
	page.Click("a.row", "Watch the shop")
	page.Shows("the first line")
	page.Until(`document.querySelector(".log-text span[style*='--ansi-red']")?.innerText === "first"`)
	page.Until(`document.title.startsWith("running")`)
	page.Shoot("run")
	if strings.Contains(page.Eval("document.body.innerText"), "the last line") {
		t.Fatal("the last line is there before it was written")
	}
	page.Eval("window.sameDocument = true")
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	page.Shows("the last line")
	page.Until(`document.title.startsWith("passed")`) // the stream says so
	page.Until(`window.sameDocument`)

	// What the address says is what shows: the line in the folded group.
	page.Press("/")
	page.Until(`document.activeElement.getAttribute("aria-label") === "Search in the log"`)
	page.Type("inside")
	page.Shows("1 of 1")
	page.Until(`document.querySelector(".log-hit mark")?.innerText === "inside"`)
	page.Until(`new URLSearchParams(location.search).get("q") === '"inside"' || location.search.includes("inside")`)
	page.Dark(true)
	page.Size(375, 740)
	page.Until(`document.documentElement.scrollWidth <= innerWidth`)
	page.Shoot("run-375-dark")
	page.Go(s.url + "/")
	page.Shows("passed")
	page.Until(`document.documentElement.scrollWidth <= innerWidth`)
	page.Shoot("services-375-dark")

	page.Click(`button[aria-label="Menu"]`, "")
	page.Click(`[role="menuitem"]`, "Log out")
	page.Shows("Log in to Penstock")
	page.Go(s.url + "/runs")
	page.Shows("Log in to Penstock")
}

// workDir is a directory for processes that outlive the server for a moment:
// t.TempDir would fail when one of them still writes.
func workDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "penstock-pages-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for deadline := time.Now().Add(30 * time.Second); os.RemoveAll(dir) != nil && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		}
	})
	return dir
}

// someServer is a server process with its address and token.
type someServer struct{ url, token string }

func startServer(t *testing.T, data string) someServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	c := exec.Command("penstock", "server", "--listen", addr, "--runtime", "process")
	c.Env = append(os.Environ(), "PENSTOCK_DATA_DIR="+data)
	c.Stderr = &log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		if t.Failed() {
			t.Logf("the server says\n%s", log.String())
		}
	})
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	s := someServer{url: "http://penstock.localhost:" + port}
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get("http://" + addr + "/livez")
		if err == nil {
			resp.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(filepath.Join(data, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	s.token = strings.TrimSpace(string(b))
	return s
}

// local is how this machine reaches the server without resolving its name.
func (s someServer) local() string {
	return strings.Replace(s.url, "penstock.localhost", "127.0.0.1", 1)
}

func (s someServer) call(t *testing.T, method, path, body string) string {
	t.Helper()
	req, err := http.NewRequest(method, s.local()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		t.Fatalf("%s %s: %s %s", method, path, resp.Status, b)
	}
	return string(b)
}

func (s someServer) push(t *testing.T, dir, workflow string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, ".github/workflows"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".github/workflows/ci.yml"), []byte(workflow), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"init", "-q", "-b", "main"}, {"add", "-A"}, {"-c", "user.name=Ann", "-c", "user.email=ann@example.com", "commit", "-q", "-m", "Watch the shop"},
		{"push", "-q", strings.Replace(s.local(), "http://", "http://x:"+s.token+"@", 1) + "/git/demo/shop.git", "main"},
	} {
		c := exec.Command("git", args...)
		c.Dir = dir
		c.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", args[0], err, out)
		}
	}
}

// TestAnApplicationInABrowser shows Applications of a cluster that is not
// there: the pages, the API and the browser are real, the Applications are
// told. There is no stream, which the page has to say.
func TestAnApplicationInABrowser(t *testing.T) {
	a := api.New()
	apps := &toldApplications{synced: make(chan string, 1)}
	a.Applications(apps)
	a.Identity(struct{ api.Identity }{})
	srv := httptest.NewServer(api.Front(builtPages(t, a.Handler(everybody{})), slog.New(slog.DiscardHandler)))
	t.Cleanup(srv.Close)
	page := chromium.Open(t)
	page.Size(1280, 800)
	page.Go(srv.URL + "/applications")
	page.Shows("No live updates")
	page.Click("a.row", "shop")
	page.Until(`location.pathname === "/applications/argocd/shop"`)
	for _, want := range []string{"Degraded", "OutOfSync", "CrashLoopBackOff", "demo/shop@sha256:0123", "Deployment", "#2", "by itself"} {
		page.Shows(want)
	}
	// What is broken is the first of the objects.
	page.Until(`document.querySelector(".resource").innerText.includes("Deployment")`)
	page.Shoot("application")
	page.Click("button", "Sync")
	select {
	case what := <-apps.synced:
		if what != "argocd/shop by ann" {
			t.Errorf("synced %s", what)
		}
	case <-time.After(60 * time.Second):
		t.Error("no sync was asked for")
	}
	page.Size(375, 740)
	page.Dark(true)
	page.Until(`document.documentElement.scrollWidth <= innerWidth`)
	page.Shoot("application-375-dark")
	page.Go(srv.URL + "/applications/argocd/none")
	page.Shows("application none: not found")
}

// everybody is ann, who may do everything.
type everybody struct{}

func (everybody) Authenticate(*http.Request) (identity.Principal, error) {
	return identity.Principal{Name: "ann", Admin: true}, nil
}

func (everybody) Allow(context.Context, identity.Principal, identity.Action) error { return nil }

// toldApplications are one that is not well.
type toldApplications struct{ synced chan string }

func (a *toldApplications) one() api.Application {
	at := time.Now().Add(-3 * time.Minute)
	return api.Application{
		Namespace: "argocd", Name: "shop", Project: "default", Repo: "http://penstock.localhost:7080/git/demo/shop-manifests.git", Path: "overlays/production", Target: "main",
		Destination: "in-cluster shop", Automated: true, Sync: "OutOfSync", Revision: "0123456789abcdef0123456789abcdef01234567", Health: "Degraded",
		HealthMessage: "1 of 2 Pods is ready", Images: []string{"penstock.localhost:7080/demo/shop@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
		URLs: []string{"http://shop.localhost:7070/"}, ComparedAt: at, CreatedAt: at,
		Operation: &api.AppOperation{Phase: "Succeeded", Message: "successfully synced (all tasks run)", Revision: "0123456789abcdef", By: "automated", StartedAt: at, FinishedAt: at.Add(1400 * time.Millisecond)},
		History:   []api.AppHistory{{ID: 1, Revision: "fedcba9876", DeployedAt: at.Add(-time.Hour)}, {ID: 2, Revision: "0123456789", DeployedAt: at}},
		Resources: []api.AppResource{
			{Kind: "Service", Namespace: "shop", Name: "shop", Sync: "Synced", Health: "Healthy"},
			{Kind: "ConfigMap", Namespace: "shop", Name: "settings", Sync: "OutOfSync"},
			{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "shop", Sync: "Synced", Health: "Degraded", Message: "CrashLoopBackOff"},
		},
	}
}

func (a *toldApplications) List(context.Context, identity.Principal, string) ([]api.Application, error) {
	one := a.one()
	one.History, one.Resources = nil, nil
	return []api.Application{one}, nil
}

func (a *toldApplications) Get(_ context.Context, _ identity.Principal, _, name string) (api.Application, error) {
	if name != "shop" {
		return api.Application{}, fmt.Errorf("application %s: %w", name, problem.ErrNotFound)
	}
	return a.one(), nil
}

func (a *toldApplications) Sync(_ context.Context, by identity.Principal, namespace, name string, _ api.NewSync) (api.Asked, error) {
	select {
	case a.synced <- namespace + "/" + name + " by " + by.Name:
	default:
	}
	return api.Asked{Request: "1"}, nil
}

func (a *toldApplications) Refresh(context.Context, identity.Principal, string, string, bool) error {
	return nil
}
