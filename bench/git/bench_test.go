//go:build bench

package git

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/host/git"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// open lets everybody do everything.
type open struct{}

func (open) AuthorizeGit(*http.Request, string, bool) (string, error) { return "bench", nil }

// sides starts both servers, each with an empty repository demo/bench.
func sides(b *testing.B) (ours, plain string) {
	b.Helper()
	dir := b.TempDir()
	db, err := store.Open(b.Context(), filepath.Join(dir, "store.sqlite"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	s, err := git.New(b.Context(), git.Options{Root: filepath.Join(dir, "git"), DB: db, Access: open{}, URLs: []string{"http://x/git/"}})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := s.Create(b.Context(), "demo/bench"); err != nil {
		b.Fatal(err)
	}
	root := filepath.Join(dir, "plain")
	run(b, "", "git", "init", "-q", "--bare", filepath.Join(root, "demo", "bench.git"))
	run(b, filepath.Join(root, "demo", "bench.git"), "git", "config", "http.receivepack", "true")
	backend := filepath.Join(strings.TrimSpace(run(b, "", "git", "--exec-path")), "git-http-backend")
	cgiHandler := &cgi.Handler{Path: backend, Root: "/git", Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"}}
	one, two := httptest.NewServer(s), httptest.NewServer(cgiHandler)
	b.Cleanup(one.Close)
	b.Cleanup(two.Close)
	return one.URL + "/git/demo/bench.git", two.URL + "/git/demo/bench.git"
}

func run(b *testing.B, dir, name string, args ...string) string {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
	out, err := cmd.Output()
	if err != nil {
		b.Fatalf("%s %v: %v", name, args, err)
	}
	return string(out)
}

// commit makes a repository with one file of size random bytes and returns the
// pack that holds it.
func commit(b *testing.B, size int) (head string, pack []byte) {
	b.Helper()
	dir := b.TempDir()
	noise := make([]byte, size)
	if _, err := rand.Read(noise); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "noise"), noise, 0o644); err != nil {
		b.Fatal(err)
	}
	run(b, dir, "git", "init", "-q")
	run(b, dir, "git", "config", "core.compression", "0")
	run(b, dir, "git", "add", "-A")
	run(b, dir, "git", "commit", "-q", "-m", "x")
	return strings.TrimSpace(run(b, dir, "git", "rev-parse", "HEAD")), []byte(run(b, dir, "git", "pack-objects", "--all", "--stdout", "-q"))
}

// push creates a ref and waits for the acknowledgement.
func push(b *testing.B, url, ref, head string, pack []byte) time.Duration {
	b.Helper()
	line := fmt.Sprintf("%040d %s %s\x00report-status side-band-64k", 0, head, ref)
	body := append([]byte(fmt.Sprintf("%04x%s0000", len(line)+4, line)), pack...)
	start := time.Now()
	resp, err := http.Post(url+"/git-receive-pack", "application/x-git-receive-pack-request", bytes.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(said), "ok "+ref) {
		b.Fatalf("%s: %v %q", url, err, said)
	}
	return time.Since(start)
}

// inTurns measures both sides one after the other and reports their best.
func inTurns(b *testing.B, measure func(url string, i int) time.Duration) {
	ours, plain := sides(b)
	best := map[string]time.Duration{}
	i := 0
	for b.Loop() {
		for _, url := range []string{ours, plain} {
			if d := measure(url, i); best[url] == 0 || d < best[url] {
				best[url] = d
			}
		}
		i++
	}
	b.ReportMetric(float64(best[ours].Microseconds())/1000, "ms/ours-best")
	b.ReportMetric(float64(best[plain].Microseconds())/1000, "ms/plain-best")
	b.ReportMetric(float64(best[ours])/float64(best[plain]), "ours/plain")
}

func BenchmarkSmallPush(b *testing.B) {
	head, pack := commit(b, 1000)
	inTurns(b, func(url string, i int) time.Duration {
		return push(b, url, fmt.Sprintf("refs/heads/b%d", i), head, pack)
	})
}

func BenchmarkLargePush(b *testing.B) {
	inTurns(b, func(url string, i int) time.Duration {
		head, pack := commit(b, 50<<20)
		return push(b, url, fmt.Sprintf("refs/heads/b%d", i), head, pack)
	})
}

func BenchmarkListRefs(b *testing.B) {
	head, pack := commit(b, 1000)
	pushed := map[string]bool{}
	inTurns(b, func(url string, _ int) time.Duration {
		if !pushed[url] {
			pushed[url] = true
			push(b, url, "refs/heads/main", head, pack)
		}
		start := time.Now()
		resp, err := http.Get(url + "/info/refs?service=git-upload-pack")
		if err != nil {
			b.Fatal(err)
		}
		defer resp.Body.Close()
		if said, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(said), head) {
			b.Fatalf("%v %q", err, said)
		}
		return time.Since(start)
	})
}
