//go:build e2e

// Package e2e drives the whole product on this machine the way a person does:
// the two binaries, git, HTTP. It needs root and takes the default ports, so
// its tests run one after another.
//
// PENSTOCK_BIN names the directory with the binaries, default bin/ of the
// checkout.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Platform is one running Penstock.
type Platform struct {
	Bin     string // directory of the binaries
	DataDir string
	Server  string // host:port
	Gateway string // host:port
}

// NewPlatform prepares one that is not started; it is taken down and wiped at
// the end of the test, and its logs are shown when the test failed.
func NewPlatform(t testing.TB) *Platform {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("the embedded node needs root")
	}
	bin := os.Getenv("PENSTOCK_BIN")
	if bin == "" {
		bin = filepath.Join("..", "..", "bin")
	}
	bin, err := filepath.Abs(bin)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []string{"penstock", "penstock-node"} {
		if _, err := os.Stat(filepath.Join(bin, b)); err != nil {
			t.Fatalf("%v (make build)", err)
		}
	}
	// Not t.TempDir: socket paths must be short.
	dir, err := os.MkdirTemp("/var/tmp", "pe2e-")
	if err != nil {
		t.Fatal(err)
	}
	p := &Platform{Bin: bin, DataDir: dir, Server: "127.0.0.1:7080", Gateway: "127.0.0.1:7070"}
	t.Cleanup(func() {
		if t.Failed() {
			p.showLogs(t)
		}
		if out, err := p.Try(3*time.Minute, "down", "--wipe"); err != nil {
			t.Errorf("down --wipe: %v\n%s", err, out)
		}
		os.RemoveAll(dir)
	})
	return p
}

// Up starts the platform and waits until it is ready.
func (p *Platform) Up(t testing.TB) {
	t.Helper()
	p.Run(t, "up", "--detach", "--timeout", "2m")
}

// Cmd makes a command of the penstock binary for this platform.
func (p *Platform) Cmd(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, filepath.Join(p.Bin, "penstock"), args...)
	c.Env = append(os.Environ(), "PENSTOCK_DATA_DIR="+p.DataDir, "PENSTOCK_SERVER=http://penstock.localhost:7080", "KUBECONFIG="+filepath.Join(p.DataDir, "node", "admin.kubeconfig"))
	c.WaitDelay = 5 * time.Second
	return c
}

// Try runs penstock and returns what it printed.
func (p *Platform) Try(timeout time.Duration, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var out, errw bytes.Buffer
	c := p.Cmd(ctx, args...)
	c.Stdout, c.Stderr = &out, &errw
	if err := c.Run(); err != nil {
		return out.String() + errw.String(), fmt.Errorf("penstock %s: %w", strings.Join(args, " "), err)
	}
	return out.String(), nil
}

// Run runs penstock, wants success and returns standard output.
func (p *Platform) Run(t testing.TB, args ...string) string {
	t.Helper()
	out, err := p.Try(5*time.Minute, args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// JSON runs penstock with -o json and decodes standard output into v.
func (p *Platform) JSON(t testing.TB, v any, args ...string) {
	t.Helper()
	out := p.Run(t, append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		t.Fatalf("penstock %s -o json: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// Git runs git in dir with the credentials of this platform.
func (p *Platform) Git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	out, err := p.TryGit(dir, args...)
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

// TryGit is Git for a command that may fail.
func (p *Platform) TryGit(dir string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "git", append([]string{
		"-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "init.defaultBranch=main",
		"-c", "credential.http://penstock.localhost:7080.helper=!" + filepath.Join(p.Bin, "penstock") + " credential",
	}, args...)...)
	c.Dir = dir
	c.Env = append(os.Environ(), "PENSTOCK_DATA_DIR="+p.DataDir, "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null")
	out, err := c.CombinedOutput()
	return string(out), err
}

// Get asks the gateway for path of the application at host (without port).
func (p *Platform) Get(ctx context.Context, host, path string) (code int, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+":7070"+path, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := p.httpClient().Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, string(b), err
}

func (p *Platform) httpClient() *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, p.Gateway)
		},
	}}
}

// Eventually waits until ok returns nil; the last error ends the test.
func Eventually(t testing.TB, timeout time.Duration, what string, ok func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	var last error
	for {
		err := ok(ctx)
		if err == nil {
			return
		}
		if ctx.Err() == nil || last == nil { // an attempt that was cut off says nothing
			last = err
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not after %v: %v", what, timeout, last)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// PID returns the process id of one of the platform's processes.
func (p *Platform) PID(t testing.TB, name string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(p.DataDir, "run", name+".pid"))
	if err != nil {
		t.Fatal(err)
	}
	var rec struct {
		PID int `json:"pid"`
	}
	if err := json.Unmarshal(b, &rec); err != nil || rec.PID <= 1 {
		t.Fatalf("record of %s: %v %s", name, err, b)
	}
	return rec.PID
}

func (p *Platform) showLogs(t testing.TB) {
	logs, _ := filepath.Glob(filepath.Join(p.DataDir, "run", "*.log"))
	for _, l := range logs {
		b, err := os.ReadFile(l)
		if err != nil {
			continue
		}
		if len(b) > 4000 {
			b = b[len(b)-4000:]
		}
		t.Logf("--- %s\n%s", l, b)
	}
}
