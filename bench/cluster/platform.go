//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// platform is the Penstock that is measured, in a directory of its own.
type platform struct {
	bin    string
	dir    string
	rounds int
	idle   time.Duration
	up     bool

	timeline string // of the last start of the node
}

const (
	serverAddr  = "127.0.0.1:7080"
	gatewayAddr = "127.0.0.1:7070"
)

func (p *platform) nodeDir() string    { return filepath.Join(p.dir, "node") }
func (p *platform) kubeconfig() string { return filepath.Join(p.nodeDir(), "admin.kubeconfig") }
func (p *platform) control() string    { return filepath.Join(p.nodeDir(), "run", "control.sock") }

// run executes one of the binaries and returns its standard output.
func (p *platform) run(ctx context.Context, timeout time.Duration, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var out, errw bytes.Buffer
	c := exec.CommandContext(ctx, filepath.Join(p.bin, program), args...)
	c.Env = append(os.Environ(), "PENSTOCK_DATA_DIR="+p.dir)
	c.Stdout, c.Stderr = &out, &errw
	c.WaitDelay = 5 * time.Second
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, tail(errw.String()))
	}
	return out.String(), nil
}

func tail(s string) string {
	if len(s) > 2000 {
		s = "..." + s[len(s)-2000:]
	}
	return strings.TrimSpace(s)
}

// ensureUp starts everything, once.
func (p *platform) ensureUp(ctx context.Context) error {
	if p.up {
		return nil
	}
	if _, err := p.run(ctx, 3*time.Minute, "penstock", "up", "--detach", "--timeout", "2m"); err != nil {
		return err
	}
	p.up = true
	return nil
}

func (p *platform) down(ctx context.Context) error {
	p.up = false
	_, err := p.run(ctx, 3*time.Minute, "penstock", "down")
	return err
}

func (p *platform) wipe(ctx context.Context) {
	program, args := "penstock", []string{"down", "--wipe"}
	if _, err := os.Stat(filepath.Join(p.dir, "settings.json")); err != nil { // only the node ever ran
		program, args = "penstock-node", []string{"stop", "--wipe", "--data-dir", p.nodeDir()}
	}
	if _, err := p.run(ctx, 3*time.Minute, program, args...); err != nil {
		fmt.Fprintln(os.Stderr, "warning:", err)
	}
}

// socket asks an HTTP server on a unix socket.
func socket(ctx context.Context, path, method, url string, body io.Reader) ([]byte, error) {
	t := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	req, err := http.NewRequestWithContext(ctx, method, "http://socket"+url, body)
	if err != nil {
		return nil, err
	}
	res, err := t.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	if err != nil {
		return nil, err
	}
	if res.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s %s: %s: %s", method, url, res.Status, tail(string(b)))
	}
	return b, nil
}

// awaitReady polls the control socket until the node is ready.
func (p *platform) awaitReady(ctx context.Context) error {
	var last error
	for ctx.Err() == nil {
		if _, last = socket(ctx, p.control(), http.MethodGet, "/v1/ready?wait=30s", nil); last == nil {
			return nil
		}
		time.Sleep(2 * time.Millisecond)
	}
	return errors.Join(last, context.Cause(ctx))
}

func (p *platform) restConfig() (*rest.Config, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", p.kubeconfig())
	if err != nil {
		return nil, err
	}
	cfg.QPS, cfg.Burst = 1000, 1000
	return cfg, nil
}

func (p *platform) kube() (*kubernetes.Clientset, error) {
	cfg, err := p.restConfig()
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(cfg)
}

// nodeStatus is what the benchmark reads of GET /v1/status.
type nodeStatus struct {
	PID        int       `json:"pid"`
	StartedAt  time.Time `json:"startedAt"`
	Components []struct {
		Name  string    `json:"name"`
		State string    `json:"state"`
		Since time.Time `json:"since"`
	} `json:"components"`
}

func (p *platform) nodeStatus(ctx context.Context) (s nodeStatus, err error) {
	b, err := socket(ctx, p.control(), http.MethodGet, "/v1/status", nil)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(b, &s)
}
