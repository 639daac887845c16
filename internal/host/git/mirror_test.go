package git_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/git"
)

// outside is another Git host: Penstock's own, which knows the password "all".
func outside(t *testing.T) (h *host, url string) {
	h = start(t, t.TempDir())
	h.create("acme/shop")
	return h, strings.Replace(h.url, "u:all@", "", 1) + "acme/shop.git"
}

func TestImport(t *testing.T) {
	out, url := outside(t)
	w := work(t, map[string]string{"a": "1"})
	run(t, w, "tag", "v1")
	run(t, w, "push", "-q", out.url+"acme/shop.git", "main:trunk", "v1", "main:refs/notes/x")
	dir := t.TempDir()
	h := start(t, dir)
	if _, err := h.Import(t.Context(), "demo/shop", git.Remote{URL: url, Username: "ann", Password: "wrong"}); err == nil || strings.Contains(err.Error(), "wrong") {
		t.Errorf("import with a wrong password: %v", err)
	}
	if repos, err := h.List(t.Context()); err != nil || len(repos) != 0 {
		t.Errorf("a failed import left %+v %v", repos, err)
	}
	repo, err := h.Import(t.Context(), "demo/shop", git.Remote{URL: url, Username: "ann", Password: "all"})
	if err != nil {
		t.Fatal(err)
	}
	if repo.DefaultBranch != "trunk" || repo.Mirror != nil {
		t.Errorf("%+v", repo)
	}
	want := run(t, w, "rev-parse", "HEAD")
	refs := run(t, w, "ls-remote", h.url+"demo/shop.git")
	for _, ref := range []string{"HEAD", "refs/heads/trunk", "refs/tags/v1", "refs/notes/x"} {
		if !strings.Contains(refs, want+"\t"+ref+"\n") && !strings.HasSuffix(refs, want+"\t"+ref) {
			t.Errorf("no %s in\n%s", ref, refs)
		}
	}
	if n := len(h.events()); n != 0 {
		t.Errorf("%d events of an import", n)
	}
	// It is an ordinary repository: it takes pushes.
	commit(t, w, map[string]string{"a": "2"})
	run(t, w, "push", "-q", h.url+"demo/shop.git", "main:trunk")
	if _, err := h.Import(t.Context(), "demo/shop", git.Remote{URL: url}); !errors.Is(err, problem.ErrExists) {
		t.Errorf("import over another: %v", err)
	}
	if found := grep(t, dir, "all"); len(found) > 0 {
		t.Errorf("the password is in %v", found)
	}
}

// grep lists the files under dir in which word stands alone on a line or in
// quotes; "all" is part of other words.
func grep(t *testing.T, dir, word string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "grep", "-rlE", `(:|"|=)`+word+`(@|"|$)`, dir).Output()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}

func TestRemotesThatAreRefused(t *testing.T) {
	h := start(t, t.TempDir())
	for _, u := range []string{
		"", "x", "file:///etc", "/etc", "ssh://host/x", "git@host:x", "git://host/x", "ext::sh -c id", "http://u:secret@host/x",
		"http://host", "http://host/", "http:///x", "https://host/x?y", "https://host/x#y", "https://host/x y", "--upload-pack=x", "http://host/\x00x",
		"http://host/" + strings.Repeat("x", 3000),
	} {
		for _, try := range []func(git.Remote) error{
			func(r git.Remote) error { _, err := h.Import(t.Context(), "demo/shop", r); return err },
			func(r git.Remote) error { _, err := h.CreateMirror(t.Context(), "demo/shop", r, time.Hour); return err },
		} {
			if err := try(git.Remote{URL: u}); !errors.Is(err, problem.ErrInvalid) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%q: %v", u, err)
			}
		}
	}
	if _, err := h.Import(t.Context(), "demo/shop", git.Remote{URL: "https://host/x", Password: "a\nhost=evil"}); !errors.Is(err, problem.ErrInvalid) {
		t.Errorf("a password of two lines: %v", err)
	}
	if _, err := h.CreateMirror(t.Context(), "demo/shop", git.Remote{URL: "https://host/x"}, time.Second); !errors.Is(err, problem.ErrInvalid) {
		t.Errorf("a mirror every second: %v", err)
	}
}

// TestRedirectsGetNoCredentials sends git from one host to another.
func TestRedirectsGetNoCredentials(t *testing.T) {
	var got atomic.Pointer[string]
	thief := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a := r.Header.Get("Authorization"); a != "" {
			got.Store(&a)
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer thief.Close()
	// Another host: the same port by another name would not be one.
	to := strings.Replace(thief.URL, "127.0.0.1", "localhost", 1)
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, to+r.URL.String(), http.StatusFound)
	}))
	defer first.Close()
	h := start(t, t.TempDir())
	if _, err := h.Import(t.Context(), "demo/shop", git.Remote{URL: first.URL + "/x.git", Username: "ann", Password: "s3cret"}); err == nil {
		t.Error("imported from nothing")
	}
	if a := got.Load(); a != nil {
		t.Errorf("the other host got %s", *a)
	}
}

func TestImportIsBounded(t *testing.T) {
	out, url := outside(t)
	w := work(t, nil)
	random, err := os.Open("/dev/urandom")
	if err != nil {
		t.Fatal(err)
	}
	defer random.Close()
	b := make([]byte, 4<<20)
	if _, err := random.Read(b); err != nil {
		t.Fatal(err)
	}
	commit(t, w, map[string]string{"big": string(b)})
	run(t, w, "push", "-q", out.url+"acme/shop.git", "main")
	h := start(t, t.TempDir(), func(o *git.Options) { o.MaxRepository = 1 << 20 })
	if _, err := h.Import(t.Context(), "demo/shop", git.Remote{URL: url, Password: "all"}); !errors.Is(err, problem.ErrInvalid) || !strings.Contains(err.Error(), "more than the 1 MiB") {
		t.Errorf("%v", err)
	}
	if left, err := filepath.Glob(filepath.Join(h.dir, "git", ".making-*")); err != nil || len(left) > 0 {
		t.Errorf("left %v %v", left, err)
	}
}

func TestMirror(t *testing.T) {
	out, url := outside(t)
	w := work(t, map[string]string{"a": "1"})
	first := run(t, w, "rev-parse", "HEAD")
	run(t, w, "push", "-q", out.url+"acme/shop.git", "main", "main:old")
	dir := t.TempDir()
	h := start(t, dir)
	repo, err := h.CreateMirror(t.Context(), "demo/shop", git.Remote{URL: url, Username: "ann", Password: "all"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if m := repo.Mirror; m == nil || m.URL != url || m.FetchedAt.IsZero() || m.Error != "" {
		t.Errorf("%+v", repo)
	}
	fails(t, "is a mirror of "+url+" and takes no pushes", w, "push", h.url+"demo/shop.git", "main")

	second := commit(t, w, map[string]string{"a": "2"})
	run(t, w, "push", "-q", out.url+"acme/shop.git", "main", "main:new", ":old")
	if _, err := h.SyncMirror(t.Context(), "demo/shop"); err != nil {
		t.Fatal(err)
	}
	zero := event.ZeroCommit
	events := h.events()
	if len(events) != 1 || events[0].Actor != "mirror" {
		t.Fatalf("events %+v", events)
	}
	want := []event.RefUpdate{{Ref: "refs/heads/main", Before: first, After: second}, {Ref: "refs/heads/new", Before: zero, After: second}, {Ref: "refs/heads/old", Before: first, After: zero}}
	if len(events[0].Updates) != 3 || events[0].Updates[0] != want[0] || events[0].Updates[1] != want[1] || events[0].Updates[2] != want[2] {
		t.Errorf("updates %+v", events[0].Updates)
	}

	// The other side is away, then back.
	if err := out.Delete(t.Context(), "acme/shop"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.SyncMirror(t.Context(), "demo/shop"); err == nil || strings.Contains(err.Error(), "all@") {
		t.Errorf("%v", err)
	}
	repo, err = h.Get(t.Context(), "demo/shop")
	if err != nil || repo.Mirror == nil || repo.Mirror.Error == "" || repo.Mirror.Fails != 1 || repo.Mirror.FetchedAt.Equal(repo.Mirror.TriedAt) {
		t.Errorf("%+v %+v %v", repo, repo.Mirror, err)
	}
	if refs := run(t, w, "ls-remote", h.url+"demo/shop.git", "main"); !strings.HasPrefix(refs, second) {
		t.Errorf("a failed fetch changed refs: %s", refs)
	}
	out.create("acme/shop")
	third := commit(t, w, map[string]string{"a": "3"})
	run(t, w, "push", "-q", out.url+"acme/shop.git", "main")

	// A server that starts finds the mirror due, with its credentials.
	h2 := restart(t, h, func(o *git.Options) { o.Now = func() time.Time { return time.Now().Add(2 * time.Hour) } })
	deadline := time.Now().Add(60 * time.Second)
	for {
		if events := h2.events(); len(events) == 2 && events[1].Updates[0].After == third {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not fetched: %+v", h2.events())
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := h2.StopMirror(t.Context(), "demo/shop"); err != nil {
		t.Fatal(err)
	}
	commit(t, w, map[string]string{"a": "4"})
	run(t, w, "push", "-q", h2.url+"demo/shop.git", "main")
	if secrets, err := filepath.Glob(filepath.Join(dir, "git", ".secrets", "*")); err != nil || len(secrets) > 0 {
		t.Errorf("credentials left: %v %v", secrets, err)
	}
	if _, err := h2.SyncMirror(t.Context(), "demo/shop"); !errors.Is(err, problem.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

func TestAliases(t *testing.T) {
	h := start(t, t.TempDir(), func(o *git.Options) {
		o.Aliases = map[string]string{"https://fixed.example/a/b": "demo/fixed"}
	})
	h.create("demo/shop")
	h.create("demo/other")
	for _, bad := range []string{"", "x", "github.com", "github.com/", "ftp://github.com/a/b", "git hub.com/a/b"} {
		if _, err := h.AddAlias(t.Context(), bad, "demo/shop"); !errors.Is(err, problem.ErrInvalid) {
			t.Errorf("alias %q: %v", bad, err)
		}
	}
	if _, err := h.AddAlias(t.Context(), "github.com/acme/shop", "demo/none"); !errors.Is(err, problem.ErrNotFound) {
		t.Errorf("alias of nothing: %v", err)
	}
	a, err := h.AddAlias(t.Context(), "https://GitHub.com/acme/shop.git", "demo/shop")
	if err != nil || a.Address != "github.com/acme/shop" {
		t.Fatalf("%+v %v", a, err)
	}
	if _, err := h.AddAlias(t.Context(), "github.com/acme/shop", "demo/other"); !errors.Is(err, problem.ErrExists) {
		t.Errorf("the alias of another was taken: %v", err)
	}
	for _, u := range []string{"https://github.com/acme/shop", "git@github.com:acme/shop.git", "ssh://git@github.com/acme/shop", "https://github.com/acme/shop/"} {
		if repo, ok := h.Hosted(u); !ok || repo != "demo/shop" {
			t.Errorf("%s is %s, %v", u, repo, ok)
		}
	}
	// What actions/checkout asks for when a workflow names acme/shop.
	w := work(t, map[string]string{"a": "1"})
	run(t, w, "push", "-q", h.url+"demo/shop.git", "main")
	if out := run(t, w, "ls-remote", h.url+"acme/shop.git", "main"); !strings.HasPrefix(out, run(t, w, "rev-parse", "HEAD")) {
		t.Errorf("by its outside name: %s", out)
	}
	fails(t, "does not exist here", w, "push", h.url+"acme/shop.git", "main")
	h = restart(t, h)
	if repo, ok := h.Hosted("https://github.com/acme/shop"); !ok || repo != "demo/shop" {
		t.Errorf("after a restart: %s %v", repo, ok)
	}
	if list, err := h.Aliases(t.Context()); err != nil || len(list) != 1 || list[0].Repo != "demo/shop" {
		t.Errorf("%+v %v", list, err)
	}
	if err := h.RemoveAlias(t.Context(), "github.com/acme/shop"); err != nil {
		t.Fatal(err)
	}
	if err := h.RemoveAlias(t.Context(), "github.com/acme/shop"); !errors.Is(err, problem.ErrNotFound) {
		t.Error(err)
	}
	if repo, ok := h.Hosted("https://github.com/acme/shop"); ok {
		t.Errorf("still %s", repo)
	}
	if _, err := h.AddAlias(t.Context(), "github.com/acme/shop", "demo/other"); err != nil {
		t.Fatal(err)
	}
	if err := h.Delete(t.Context(), "demo/other"); err != nil {
		t.Fatal(err)
	}
	if _, ok := h.Hosted("https://github.com/acme/shop"); ok {
		t.Error("a deleted repository keeps its alias")
	}
}
