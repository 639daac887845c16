package git_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/host/git"
)

// pushBody is what a client sends to create refs/heads/NAME from HEAD of w.
func pushBody(t *testing.T, w, name string) []byte {
	t.Helper()
	head := run(t, w, "rev-parse", "HEAD")
	line := fmt.Sprintf("%s %s refs/heads/%s\x00report-status side-band-64k agent=test", zero, head, name)
	body := fmt.Sprintf("%04x%s0000", len(line)+4, line)
	cmd := exec.CommandContext(t.Context(), "git", "-C", w, "pack-objects", "--all", "--stdout", "-q")
	pack, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte(body), pack...)
}

// halfPush sends a push without its end and keeps the connection open.
func halfPush(t *testing.T, base, w, repo string) (stop func()) {
	t.Helper()
	body := pushBody(t, w, "main")
	r, pw := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/git/"+repo+".git/git-receive-pack", r)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-git-receive-pack-request")
	var done sync.WaitGroup
	done.Go(func() {
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
		}
	})
	if _, err := pw.Write(body[:len(body)-10]); err != nil {
		t.Fatal(err)
	}
	return func() { cancel(); pw.CloseWithError(io.ErrUnexpectedEOF); done.Wait() }
}

func post(t *testing.T, u, service string, body io.Reader, set func(r *http.Request)) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, u+"/"+service, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-"+service+"-request")
	if set != nil {
		set(req)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode, readAll(t, resp.Body)
}

func TestWhoMayDoWhat(t *testing.T) {
	h := start(t, t.TempDir())
	u := h.create("demo/shop")
	w := work(t, map[string]string{"a": "1"})
	as := func(password string) string { return strings.Replace(u, "u:all@", "u:"+password+"@", 1) }
	fails(t, "could not read Username", w, "ls-remote", strings.Replace(u, "u:all@", "", 1))
	fails(t, "Authentication failed", w, "ls-remote", as("wrong"))
	fails(t, "Authentication failed", w, "push", as("wrong"), "main")
	fails(t, "bob may only read", w, "push", as("read"), "main")
	if n := len(h.events()); n != 0 {
		t.Fatalf("%d events of refused pushes", n)
	}
	run(t, w, "push", "-q", u, "main")
	if out := run(t, w, "ls-remote", as("read")); !strings.Contains(out, "refs/heads/main") {
		t.Errorf("ls-remote: %s", out)
	}
	code, said := post(t, as("read"), "git-receive-pack", bytes.NewReader(pushBody(t, w, "x")), nil)
	if code != http.StatusForbidden {
		t.Errorf("a push without asking for refs first: %d %s", code, said)
	}
	fails(t, "penstock repo create demo/none", w, "push", strings.Replace(u, "shop", "none", 1), "main")
}

func TestOnlyRepositoriesAreServed(t *testing.T) {
	h := start(t, t.TempDir())
	h.create("demo/shop")
	if err := os.WriteFile(filepath.Join(h.dir, "git", "secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	base := strings.TrimSuffix(h.url, "git/")
	for _, path := range []string{
		"git/demo/shop.git/HEAD", "git/demo/shop.git/config", "git/demo/shop.git/objects/info/packs", "git/demo/shop.git/", "git/demo/shop.git",
		"git/../secret", "git/%2e%2e/secret/info/refs?service=git-upload-pack", "git/demo/..%2fdemo%2fshop.git/info/refs?service=git-upload-pack",
		"git/demo/%2e%2e/info/refs?service=git-upload-pack", "git/demo/shop.git/info/refs", "git/demo/shop.git/info/refs?service=git-upload-archive",
		"git/demo/shop.git/info/refs?service=git-upload-pack&x=1", "git/Demo/shop.git/info/refs?service=git-upload-pack",
		"git/demo/shop.git.git/info/refs?service=git-upload-pack", "git/-x/shop.git/info/refs?service=git-upload-pack",
		"git/demo/shop.git/git-upload-pack", "git/demo/.shop/info/refs?service=git-upload-pack", "git//shop.git/info/refs?service=git-upload-pack",
	} {
		resp, err := http.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode < 400 || resp.StatusCode >= 500 {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	resp, err := http.Get(base + "git/demo/shop/info/refs?service=git-upload-pack") // without ".git" is fine
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("without .git: %s", resp.Status)
	}
	code, _ := post(t, base+"git/demo/shop", "git-upload-pack", strings.NewReader("0000"), func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") })
	if code != http.StatusUnsupportedMediaType {
		t.Errorf("another content type: %d", code)
	}
	for _, name := range []string{"", "demo", "demo/", "/demo", "a/b/c", "../x", "demo/..", "demo/.git", "demo/x.git", "Demo/x", "demo/x y", "demo/x\n", "api/x", "demo/-x", "demo/x-", "demo/a..b", "demo/" + strings.Repeat("x", 101)} {
		if _, err := h.Create(t.Context(), name); err == nil {
			t.Errorf("created %q", name)
		}
	}
}

func TestCompressedRequests(t *testing.T) {
	h := start(t, t.TempDir(), func(o *git.Options) { o.MaxPush = 8 << 20 })
	u := h.create("demo/shop")
	w := work(t, map[string]string{"a": "1"})
	zip := func(b []byte) *bytes.Buffer {
		var z bytes.Buffer
		g := gzip.NewWriter(&z)
		if _, err := g.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
		return &z
	}
	gzipped := func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }
	if code, said := post(t, u, "git-receive-pack", zip(pushBody(t, w, "main")), gzipped); code != 200 || !strings.Contains(said, "ok refs/heads/main") {
		t.Fatalf("a compressed push: %d %q", code, said)
	}
	bomb := zip(make([]byte, 200<<20))
	t.Logf("the bomb has %d bytes", bomb.Len())
	if code, said := post(t, u, "git-upload-pack", bytes.NewReader(bomb.Bytes()), gzipped); code != http.StatusRequestEntityTooLarge {
		t.Errorf("a bomb to upload-pack: %d %q", code, said)
	}
	push := append(pushBody(t, w, "x"), make([]byte, 200<<20)...)
	if code, said := post(t, u, "git-receive-pack", zip(push), gzipped); code != http.StatusRequestEntityTooLarge {
		t.Errorf("a bomb to receive-pack: %d %q", code, said)
	}
	if code, _ := post(t, u, "git-upload-pack", strings.NewReader("no gzip"), gzipped); code != http.StatusBadRequest {
		t.Errorf("no gzip: %d", code)
	}
	if code, _ := post(t, u, "git-upload-pack", strings.NewReader("0000"), func(r *http.Request) { r.Header.Set("Content-Encoding", "br") }); code != http.StatusBadRequest {
		t.Errorf("another encoding: %d", code)
	}
	if n := len(h.events()); n > 2 {
		t.Errorf("%d events", n)
	}
}

func TestATooLargePushIsRefused(t *testing.T) {
	h := start(t, t.TempDir(), func(o *git.Options) { o.MaxPush = 1 << 20 })
	u := h.create("demo/shop")
	noise := make([]byte, 3<<20)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	w := work(t, map[string]string{"noise": string(noise)})
	fails(t, "exceeds maximum allowed size", w, "push", u, "main")
	code, _ := post(t, u, "git-receive-pack", bytes.NewReader(make([]byte, 70<<20)), nil)
	if code != http.StatusRequestEntityTooLarge {
		t.Errorf("a declared length over the limit: %d", code)
	}
	if n := len(h.events()); n != 0 {
		t.Errorf("%d events", n)
	}
	left, _ := filepath.Glob(filepath.Join(h.dir, "git/demo/shop.git/objects/*/*"))
	for _, f := range left {
		if strings.HasSuffix(f, ".pack") || strings.Contains(f, "tmp_") {
			t.Errorf("left %s", f)
		}
	}
}

// TestASlowClientIsCutOff also shows that it keeps nobody else waiting.
func TestASlowClientIsCutOff(t *testing.T) {
	h := start(t, t.TempDir())
	h.SetPace(500*time.Millisecond, time.Second, 1<<10)
	u := h.create("demo/shop")
	w := work(t, map[string]string{"a": "1"})
	parsed, err := url.Parse(u)
	if err != nil {
		t.Fatal(err)
	}
	slow := func(every time.Duration) (took time.Duration, answer string) {
		c, err := net.Dial("tcp", parsed.Host)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST %s/git-receive-pack HTTP/1.1\r\nHost: x\r\nAuthorization: Basic dTphbGw=\r\nContent-Type: application/x-git-receive-pack-request\r\nContent-Length: 10000\r\n\r\n", parsed.Path)
		start := time.Now()
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(every):
					if _, err := c.Write([]byte("0")); err != nil {
						return
					}
				}
			}
		}()
		if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 400)
		n, _ := c.Read(b)
		return time.Since(start), string(b[:n])
	}
	var both sync.WaitGroup
	for name, every := range map[string]time.Duration{"silent": time.Hour, "a trickle": 100 * time.Millisecond} {
		both.Go(func() {
			if took, answer := slow(every); took > 5*time.Second || !strings.Contains(answer, "408 Request Timeout") {
				t.Errorf("%s: after %s %q", name, took, answer)
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	run(t, w, "push", "-q", u, "main") // beside them
	both.Wait()
	if n := len(h.events()); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}

// TestAClientThatLeavesChangesNothing hangs up before the end of its push.
func TestAClientThatLeavesChangesNothing(t *testing.T) {
	h := start(t, t.TempDir())
	u := h.create("demo/shop")
	w := work(t, map[string]string{"a": "1"})
	base := strings.TrimSuffix(h.url, "/git/")
	for range 3 {
		halfPush(t, base, w, "demo/shop")()
	}
	if out := run(t, w, "ls-remote", u); out != "" {
		t.Errorf("refs %s", out)
	}
	run(t, w, "push", "-q", u, "main")
	if n := len(h.events()); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}

func TestCorruptObjectsAreRefused(t *testing.T) {
	h := start(t, t.TempDir())
	u := h.create("demo/evil")
	w := work(t, map[string]string{"a": "1"})
	blob := run(t, w, "rev-parse", "HEAD:a")
	for name, tree := range map[string]string{
		"dotgit":     "100644 blob " + blob + "\t.git\n",
		"dotdot":     "100644 blob " + blob + "\t..\n",
		"duplicates": "100644 blob " + blob + "\tx\n100644 blob " + blob + "\tx\n",
	} {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", `git mktree --missing </dev/stdin`)
		cmd.Dir = w
		cmd.Stdin = strings.NewReader(tree)
		out, err := cmd.Output()
		if err != nil {
			// This git does not make such trees; write it as an object.
			t.Logf("%s: mktree: %v", name, err)
			continue
		}
		c := run(t, w, "commit-tree", "-m", name, strings.TrimSpace(string(out)))
		fails(t, "remote", w, "push", u, c+":refs/heads/"+name)
	}
	if n := len(h.events()); n != 0 {
		t.Errorf("%d events", n)
	}
}
