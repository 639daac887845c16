package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/gateway/route"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is a gateway in this process.
type running struct {
	addr string
	dir  string
	stop func() error // ends it and returns what Run returned
	wait func() error // returns what Run returned once it has ended by itself
}

func startGateway(t *testing.T, o Options) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	addr := make(chan net.Addr, 1)
	done := make(chan error, 1)
	o.Ready = func(a net.Addr) { addr <- a }
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.Kubeconfig == "" {
		o.Kubeconfig = filepath.Join(o.Dir, "none")
	}
	go func() { done <- Run(ctx, o) }()
	r := &running{dir: o.Dir}
	ended := false
	r.wait = func() error {
		if ended {
			return nil
		}
		ended = true
		select {
		case err := <-done:
			return err
		case <-time.After(60 * time.Second):
			return errors.New("the gateway did not stop")
		}
	}
	r.stop = func() error {
		cancel()
		return r.wait()
	}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	select {
	case a := <-addr:
		r.addr = a.String()
	case err := <-done:
		ended = true
		t.Fatal(err)
	}
	return r
}

func (r *running) get(t *testing.T, host string) (int, string) {
	t.Helper()
	return get(t, "tcp", r.addr, host, "/")
}

func get(t *testing.T, network, addr, host, path string) (int, string) {
	t.Helper()
	c := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		}}}
	res, err := c.Get("http://" + host + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func (r *running) status(t *testing.T) (st Status) {
	t.Helper()
	_, body := get(t, "unix", filepath.Join(r.dir, "admin.sock"), "gateway", "/v1/status")
	if err := json.Unmarshal([]byte(body), &st); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return st
}

// shortDir is a directory whose sockets have short paths.
func shortDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "gw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestServesSavedRoutes(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "app") }))
	defer app.Close()
	dir := shortDir(t)
	table := route.Empty("localhost")
	table.Names = map[string][]string{"app": {"ns"}}
	table.Services = map[string]*route.Service{"app.ns": {Backend: "ns/app:80"}}
	table.Backends = map[string]*route.Backend{"ns/app:80": {Endpoints: []string{app.Listener.Addr().String()}}}
	if err := saveTable(filepath.Join(dir, "routes.json"), table); err != nil {
		t.Fatal(err)
	}
	r := startGateway(t, Options{Dir: dir})
	if code, body := r.get(t, "app.localhost"); code != 200 || body != "app" {
		t.Errorf("%d %s", code, body)
	}
	st := r.status(t)
	if !st.Ready || st.Table.Source != "disk" || st.Table.At.IsZero() || !strings.Contains(st.Watch.Reason, "the kubeconfig") {
		t.Errorf("status %+v", st)
	}
	if code, _ := get(t, "unix", filepath.Join(dir, "admin.sock"), "gateway", "/readyz"); code != 200 {
		t.Errorf("readyz %d", code)
	}
	for path, want := range map[string]string{"/livez": "ok", "/version": `"version"`, "/metrics": "\npenstock_gateway_held 0\n"} {
		if code, body := get(t, "unix", filepath.Join(dir, "admin.sock"), "gateway", path); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "admin.sock")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("admin socket: %v %v", info.Mode(), err)
	}
}

func TestUnusableSavedRoutes(t *testing.T) {
	for name, content := range map[string]string{
		"torn":     `{"version":1,"dom`,
		"newer":    `{"version":99,"domain":"localhost"}`,
		"other":    `{"version":1,"domain":"example.com"}`,
		"address":  `{"version":1,"domain":"localhost","backends":{"a/b:1":{"endpoints":["nonsense"]}}}`,
		"null":     `{"version":1,"domain":"localhost","hosts":{"a":null}}`,
		"nullback": `{"version":1,"domain":"localhost","backends":{"a":null}}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := shortDir(t)
			if err := os.WriteFile(filepath.Join(dir, "routes.json"), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			var log strings.Builder
			r := startGateway(t, Options{Dir: dir, Log: slogTo(&log)})
			if code, body := get(t, "unix", filepath.Join(dir, "admin.sock"), "gateway", "/readyz"); code != 503 || !strings.Contains(body, "waitingFor") {
				t.Errorf("readyz %d %s", code, body)
			}
			if code, _ := r.get(t, "a"); code != 503 {
				t.Errorf("GET: %d", code)
			}
			r.stop()
			if !strings.Contains(log.String(), "the saved routes cannot be used") {
				t.Errorf("log: %s", log.String())
			}
		})
	}
}

func TestPortTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	err = Run(t.Context(), Options{Dir: shortDir(t), Kubeconfig: "none", Listen: ln.Addr().String()})
	var p *problem.Error
	if !errors.As(err, &p) || p.Hint == "" || !strings.Contains(err.Error(), "another program has the port") {
		t.Errorf("%v", err)
	}
}

func TestSecondGateway(t *testing.T) {
	dir := shortDir(t)
	startGateway(t, Options{Dir: dir})
	err := Run(t.Context(), Options{Dir: dir, Kubeconfig: "none", Listen: "127.0.0.1:0"})
	if !errors.Is(err, problem.ErrExists) {
		t.Errorf("%v", err)
	}
}

// TestDrain stops the gateway while a request is under way.
func TestDrain(t *testing.T) {
	entered, finish := make(chan struct{}), make(chan struct{})
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-finish
		fmt.Fprint(w, "done")
	}))
	defer app.Close()
	dir := shortDir(t)
	table := route.Empty("localhost")
	table.Names = map[string][]string{"app": {"ns"}}
	table.Services = map[string]*route.Service{"app.ns": {Backend: "ns/app:80"}}
	table.Backends = map[string]*route.Backend{"ns/app:80": {Endpoints: []string{app.Listener.Addr().String()}}}
	if err := saveTable(filepath.Join(dir, "routes.json"), table); err != nil {
		t.Fatal(err)
	}
	r := startGateway(t, Options{Dir: dir})
	type answer struct {
		code int
		body string
	}
	got := make(chan answer, 1)
	go func() {
		code, body := r.get(t, "app.localhost")
		got <- answer{code, body}
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	for { // it no longer accepts
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			break
		}
		c.Close()
		time.Sleep(time.Millisecond)
	}
	select {
	case err := <-stopped:
		t.Fatalf("stopped with a request under way: %v", err)
	default:
	}
	close(finish)
	if a := <-got; a.code != 200 || a.body != "done" {
		t.Errorf("the request under way got %+v", a)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestMaxConnections(t *testing.T) {
	r := startGateway(t, Options{Dir: shortDir(t), MaxConnections: 1})
	first, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond) // it has the slot now
	second, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	fmt.Fprint(second, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	second.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if b, err := io.ReadAll(second); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a second connection was served: %q %v", b, err)
	}
	first.Close()
	second.SetReadDeadline(time.Now().Add(10 * time.Second))
	if b, err := io.ReadAll(second); err != nil || !strings.Contains(string(b), "503") {
		t.Fatalf("the slot was not given back: %q %v", b, err)
	}
}
