package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/identity"
)

// auth lets "Bearer good" in.
type auth struct{}

type later struct{}

func (later) Error() string             { return "slow down" }
func (later) RetryAfter() time.Duration { return 1500 * time.Millisecond }

func (auth) Authenticate(r *http.Request) (identity.Principal, error) {
	switch r.Header.Get("Authorization") {
	case "Bearer good":
		return identity.Principal{Name: "ann", Admin: true}, nil
	case "Bearer job":
		return identity.Principal{}, fmt.Errorf("jobs may not: %w", problem.ErrForbidden)
	case "Bearer often":
		return identity.Principal{}, later{}
	}
	return identity.Principal{}, problem.ErrUnauthenticated
}

func (auth) Allow(context.Context, identity.Principal, identity.Action) error { return nil }

// memory keeps repositories for the routes.
type memory []Repo

func (m *memory) Create(_ context.Context, name string) (Repo, error) {
	if name == "demo/bad name" {
		return Repo{}, fmt.Errorf("name %q: %w", name, problem.ErrInvalid)
	}
	if _, err := m.Get(context.Background(), name); err == nil {
		return Repo{}, fmt.Errorf("repository %s: %w", name, problem.ErrExists)
	}
	r := Repo{Name: name, DefaultBranch: "main"}
	*m = append(*m, r)
	return r, nil
}

func (m *memory) Get(_ context.Context, name string) (Repo, error) {
	i := slices.IndexFunc(*m, func(r Repo) bool { return r.Name == name })
	if i < 0 {
		return Repo{}, fmt.Errorf("repository %s: %w", name, problem.ErrNotFound)
	}
	return (*m)[i], nil
}

func (m *memory) List(context.Context) ([]Repo, error) { return *m, nil }

func (m *memory) Delete(_ context.Context, name string) error {
	if name == "demo/broken" {
		return errors.New("disk on fire")
	}
	if _, err := m.Get(context.Background(), name); err != nil {
		return err
	}
	*m = slices.DeleteFunc(*m, func(r Repo) bool { return r.Name == name })
	return nil
}

// logBuffer is written by handlers while a test reads it.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func serve(t *testing.T, h http.Handler) (url string, log *logBuffer) {
	t.Helper()
	log = &logBuffer{}
	srv := httptest.NewServer(Front(h, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	t.Cleanup(srv.Close)
	return srv.URL, log
}

func TestEveryAnswerToAMistakeIsAProblem(t *testing.T) {
	a := New()
	a.Repos(&memory{})
	url, _ := serve(t, a.Handler(auth{}))
	big := `{"name":"` + strings.Repeat("x", 2<<20) + `"}`
	for _, tc := range []struct {
		method, path, token, body string
		code                      int
		detail                    string
	}{
		{"GET", "/api/v1/repos", "", "", 401, "not authenticated"},
		{"GET", "/api/v1/nothing", "", "", 401, "not authenticated"},
		{"GET", "/api/openapi.json", "", "", 401, "not authenticated"},
		{"GET", "/api/v1/repos", "job", "", 403, "jobs may not"},
		{"GET", "/api/v1/repos", "often", "", 429, "slow down"},
		{"GET", "/api/v1/repos", "good", "", 200, ""},
		{"POST", "/api/v1/repos", "good", `{"name":"demo/shop"}`, 201, ""},
		{"POST", "/api/v1/repos", "good", `{"name":"demo/shop"}`, 409, "demo/shop: already exists"},
		{"POST", "/api/v1/repos", "good", `{"name":"demo/bad name"}`, 422, "invalid"},
		{"POST", "/api/v1/repos", "good", `{}`, 422, "validation failed"},
		{"POST", "/api/v1/repos", "good", `{"name":"demo/x","admin":true}`, 422, "validation failed"},
		{"POST", "/api/v1/repos", "good", `{`, 400, ""},
		{"POST", "/api/v1/repos", "good", "", 400, ""},
		{"POST", "/api/v1/repos", "good", big, 413, ""},
		{"GET", "/api/v1/repos/demo/shop", "good", "", 200, ""},
		{"GET", "/api/v1/repos/demo/none", "good", "", 404, "not found"},
		{"GET", "/api/v1/repos/demo%2Fshop/x", "good", "", 404, "not found"},
		{"GET", "/api/v1/nothing", "good", "", 404, "nothing at /api/v1/nothing"},
		{"PUT", "/api/v1/repos", "good", "{}", 405, "PUT is not possible"},
		{"DELETE", "/api/v1/repos/demo/broken", "good", "", 500, "disk on fire"},
		{"DELETE", "/api/v1/repos/demo/shop", "good", "", 204, ""},
		{"DELETE", "/api/v1/repos/demo/shop", "good", "", 404, "not found"},
		{"GET", "/livez", "", "", 200, ""},
		{"GET", "/version", "", "", 200, ""},
		{"GET", "/", "", "", 404, "nothing at /"},
		{"GET", "/etc/passwd", "", "", 404, "nothing at"},
	} {
		name := tc.method + " " + tc.path + " " + tc.token
		req, err := http.NewRequest(tc.method, url+tc.path, strings.NewReader(tc.body))
		if err != nil {
			t.Fatal(err)
		}
		if tc.token != "" {
			req.Header.Set("Authorization", "Bearer "+tc.token)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != tc.code {
			t.Errorf("%s: %d, want %d: %s", name, resp.StatusCode, tc.code, b)
		}
		if resp.Header.Get("X-Request-Id") == "" {
			t.Errorf("%s: no request id", name)
		}
		if tc.code < 400 {
			continue
		}
		var p struct {
			Status int
			Title  string
			Detail string
		}
		if ct := resp.Header.Get("Content-Type"); ct != "application/problem+json" || json.Unmarshal(b, &p) != nil ||
			p.Status != tc.code || p.Title == "" || !strings.Contains(p.Detail, tc.detail) {
			t.Errorf("%s: %s %s, want a problem that says %q", name, ct, b, tc.detail)
		}
		if tc.code == 401 && resp.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: no WWW-Authenticate", name)
		}
		if tc.code == 429 && resp.Header.Get("Retry-After") != "2" {
			t.Errorf("%s: Retry-After %q", name, resp.Header.Get("Retry-After"))
		}
		if tc.code == 405 && !strings.Contains(resp.Header.Get("Allow"), "POST") {
			t.Errorf("%s: Allow %q", name, resp.Header.Get("Allow"))
		}
	}
}

// TestErrorsDoNotRepeatTheBody: what is wrong can be a secret, or stand beside
// one.
func TestErrorsDoNotRepeatTheBody(t *testing.T) {
	const secret = "psl_0123456789"
	a := New()
	a.Repos(&memory{})
	url, log := serve(t, a.Handler(auth{}))
	for _, body := range []string{secret, `{"other":"` + secret + `"}`, `{"name":["` + secret + `"]}`, `{"name":"` + strings.Repeat(secret, 100) + `"}`, `["` + secret + `"]`} {
		req, err := http.NewRequest(http.MethodPost, url+"/api/v1/repos", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer good")
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode/100 != 4 || bytes.Contains(b, []byte(secret)) || !bytes.Contains(b, []byte(`"location":"body`)) {
			t.Errorf("%.80s: %d %s, want an error that names the place only", body, resp.StatusCode, b)
		}
	}
	if strings.Contains(log.String(), secret) {
		t.Errorf("the log has it:\n%s", log.String())
	}
}

// TestALongHandlerOutlivesTheBodysDeadline shows that the deadline under which
// a body is read does not end the work that follows.
func TestALongHandlerOutlivesTheBodysDeadline(t *testing.T) {
	a := New()
	op := route("slow", http.MethodPost, "/api/v1/slow", "test", "slow")
	op.BodyReadTimeout = 50 * time.Millisecond
	handle(a, op, need{kind: known}, nil, func(ctx context.Context, _ *struct {
		Body struct {
			A int `json:"a"`
		}
	}) (*struct{}, error) {
		select {
		case <-ctx.Done():
			return nil, errors.New("the request ended")
		case <-time.After(300 * time.Millisecond):
			return nil, nil
		}
	})
	url, _ := serve(t, a.Handler(auth{}))
	req, err := http.NewRequest("POST", url+"/api/v1/slow", strings.NewReader(`{"a":1}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer good")
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); resp.StatusCode != 204 {
		t.Errorf("%d %s", resp.StatusCode, b)
	}
}

func TestASlowBodyIsRefused(t *testing.T) {
	a := New()
	op := route("slow", http.MethodPost, "/api/v1/slow", "test", "slow")
	op.BodyReadTimeout = 50 * time.Millisecond
	handle(a, op, need{kind: known}, nil, func(context.Context, *struct{ Body struct{} }) (*struct{}, error) { return nil, nil })
	url, _ := serve(t, a.Handler(auth{}))
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /api/v1/slow HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	n, err := c.Read(b)
	if err != nil || !strings.HasPrefix(string(b[:n]), "HTTP/1.1 408") {
		t.Errorf("%q, %v", b[:n], err)
	}
}

// TestAStreamThatEndsInSilenceIsWhole has a handler with a deadline of its own,
// which passes before it returns.
func TestAStreamThatEndsInSilenceIsWhole(t *testing.T) {
	url, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c := http.NewResponseController(w)
		if err := c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, "last line\n")
		if err := c.Flush(); err != nil {
			t.Error(err)
		}
		time.Sleep(200 * time.Millisecond)
	}))
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); string(b) != "last line\n" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

func TestAPanicInTheMiddleBreaksTheAnswerOff(t *testing.T) {
	url, log := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half an ans")
		_ = http.NewResponseController(w).Flush()
		panic("boom")
	}))
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("the answer %q looks complete", b)
	}
	if !strings.Contains(log.String(), "boom") {
		t.Errorf("logged %s", log)
	}
}

func TestAPanicIsAnAnswerAndALogLineWithoutSecrets(t *testing.T) {
	url, log := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("boom") }))
	req, err := http.NewRequest("GET", url+"/x?access_token=s3cret", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer s3cret")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 500 {
		t.Errorf("status %d", resp.StatusCode)
	}
	id := resp.Header.Get("X-Request-Id")
	if !strings.Contains(log.String(), "boom") || !strings.Contains(log.String(), id) || strings.Contains(log.String(), "s3cret") {
		t.Errorf("logged %s", log)
	}
}
