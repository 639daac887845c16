package git_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/git"
	"github.com/penstock-dev/penstock/internal/host/store"
	"github.com/penstock-dev/penstock/internal/host/store/storetest"
)

// access knows one token that may do everything and one that may read.
type access struct{}

func (access) AuthorizeGit(r *http.Request, _ string, write bool) (string, error) {
	_, password, _ := r.BasicAuth()
	switch {
	case password == "all":
		return "ann", nil
	case password == "read" && !write:
		return "bob", nil
	case password == "read":
		return "", fmt.Errorf("bob may only read: %w", problem.ErrForbidden)
	}
	return "", problem.ErrUnauthenticated
}

// host is a running server with its data, for a real git to talk to.
type host struct {
	*git.Server
	t      *testing.T
	dir    string
	db     *store.DB
	url    string // with credentials, ends in /git/
	pushes pushes
	log    *syncBuffer
	stop   func()
}

// restart ends the server and starts another one over its data.
func restart(t *testing.T, h *host, change ...func(o *git.Options)) *host {
	t.Helper()
	h.stop()
	return start(t, h.dir, change...)
}

type pushes struct {
	mu  sync.Mutex
	all []event.Push
}

func (p *pushes) Publish(e event.Push) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, e)
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func start(t *testing.T, dir string, change ...func(o *git.Options)) *host {
	t.Helper()
	h := &host{t: t, dir: dir, log: &syncBuffer{}}
	where, err := storetest.Where(dir)
	if err != nil {
		t.Fatal(err)
	}
	if h.db, err = store.Open(t.Context(), where); err != nil {
		t.Fatal(err)
	}
	o := git.Options{
		Root: filepath.Join(dir, "git"), DB: h.db, Access: access{}, Pushes: &h.pushes,
		URLs: []string{"http://penstock.localhost:7080/git/"},
		Log:  slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, c := range change {
		c(&o)
	}
	if h.Server, err = git.New(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h.Server)
	h.url = strings.Replace(srv.URL, "http://", "http://u:all@", 1) + "/git/"
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() { _ = h.Run(ctx) })
	h.stop = sync.OnceFunc(func() {
		srv.Close()
		cancel()
		running.Wait()
		h.db.Close()
	})
	t.Cleanup(func() {
		h.stop()
		if t.Failed() {
			t.Log(h.log.String())
		}
	})
	return h
}

func (h *host) create(name string) string {
	h.t.Helper()
	if _, err := h.Create(h.t.Context(), name); err != nil {
		h.t.Fatal(err)
	}
	return h.url + name + ".git"
}

// events returns all push events in the log.
func (h *host) events() []event.Push {
	h.t.Helper()
	var out []event.Push
	err := h.db.Read(h.t.Context(), func(q store.Queryer) error {
		log, err := store.EventsAfter(h.t.Context(), q, event.TypePush, 0, 10_000)
		if err != nil {
			return err
		}
		for _, e := range log {
			var p event.Push
			if err := json.Unmarshal(e.Data, &p); err != nil {
				return err
			}
			if p.ID != e.ID || p.Repo != e.Subject {
				return fmt.Errorf("event %+v and its log entry %+v differ", p, e)
			}
			out = append(out, p)
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

// client runs git as a user would, in dir, without this machine's settings.
func client(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=ann@example.com", "GIT_COMMITTER_NAME=Ann", "GIT_COMMITTER_EMAIL=ann@example.com",
	}
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func run(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := client(t, dir, args...)
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func fails(t *testing.T, want, dir string, args ...string) {
	t.Helper()
	out, err := client(t, dir, args...)
	if err == nil || !strings.Contains(out, want) {
		t.Errorf("git %s: %v, want a failure that says %q:\n%s", strings.Join(args, " "), err, want, out)
	}
}

// work makes a repository with one commit of the given files.
func work(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	run(t, dir, "init", "-q", "-b", "main")
	commit(t, dir, files)
	return dir
}

// commit writes files, commits everything and returns the commit.
func commit(t *testing.T, dir string, files map[string]string) string {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run(t, dir, "add", "-A")
	run(t, dir, "commit", "-q", "--allow-empty", "-m", "change")
	return run(t, dir, "rev-parse", "HEAD")
}

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
