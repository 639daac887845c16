package gateway

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/gateway/route"
)

// app answers "app", echoes after an upgrade, and streams numbers until the
// client goes.
func newApp(t *testing.T) *httptest.Server {
	t.Helper()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/echo":
			c, buf, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer c.Close()
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			io.Copy(c, buf)
		case "/stream":
			for i := 0; ; i++ {
				if _, err := fmt.Fprintln(w, i); err != nil {
					return
				}
				w.(http.Flusher).Flush()
				select {
				case <-r.Context().Done():
					return
				case <-time.After(time.Millisecond):
				}
			}
		default:
			b, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "app %s", b)
		}
	}))
	t.Cleanup(app.Close)
	return app
}

func saveApp(t *testing.T, dir string, app *httptest.Server) {
	t.Helper()
	table := route.Empty("localhost")
	table.Names = map[string][]string{"app": {"ns"}}
	table.Services = map[string]*route.Service{"app.ns": {Backend: "ns/app:80"}}
	table.Backends = map[string]*route.Backend{"ns/app:80": {Endpoints: []string{app.Listener.Addr().String()}}}
	if err := saveTable(filepath.Join(dir, "routes.json"), table); err != nil {
		t.Fatal(err)
	}
}

// caller sends requests over a connection it keeps as long as it may, as the
// least forgiving client does: whatever goes wrong is a dropped request.
func caller(addr string, stop *atomic.Bool, keep bool, count *atomic.Int64) (sent int, err error) {
	var c net.Conn
	var r *bufio.Reader
	for !stop.Load() {
		if c == nil {
			if c, err = net.Dial("tcp", addr); err != nil {
				return sent, fmt.Errorf("request %d: %w", sent, err)
			}
			c.SetDeadline(time.Now().Add(60 * time.Second))
			r = bufio.NewReader(c)
		}
		body := fmt.Sprint(sent)
		if _, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: %d\r\n\r\n%s", len(body), body); err != nil {
			return sent, fmt.Errorf("request %d: write: %w", sent, err)
		}
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			return sent, fmt.Errorf("request %d: read: %w", sent, err)
		}
		b, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != 200 || string(b) != "app "+body {
			return sent, fmt.Errorf("request %d: %d %q %w", sent, res.StatusCode, b, err)
		}
		sent++
		count.Add(1)
		if res.Close || !keep {
			c.Close()
			c = nil
		}
	}
	if c != nil {
		c.Close()
	}
	return sent, nil
}

// TestHandOver hands the port over twenty times under load and counts.
func TestHandOver(t *testing.T) {
	app := newApp(t)
	dir := shortDir(t)
	saveApp(t, dir, app)
	o := Options{Dir: dir, TakeOver: true, HandOverDrain: time.Minute, Drain: 10 * time.Second}
	first := startGateway(t, o)
	o.Listen = first.addr

	var stop atomic.Bool
	var callers sync.WaitGroup
	var requests atomic.Int64
	for i := range 6 {
		callers.Go(func() {
			if _, err := caller(first.addr, &stop, i%3 > 0, &requests); err != nil {
				t.Errorf("caller %d: %v", i, err)
			}
		})
	}
	// A connection that switched protocols and an answer without end live
	// through all of it.
	ws, err := net.Dial("tcp", first.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	ws.SetDeadline(time.Now().Add(2 * time.Minute))
	fmt.Fprint(ws, "GET /echo HTTP/1.1\r\nHost: app.localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	wr := bufio.NewReader(ws)
	if res, err := http.ReadResponse(wr, nil); err != nil || res.StatusCode != 101 {
		t.Fatalf("%v %v", res, err)
	}
	stream, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+first.addr+"/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	stream.Host = "app.localhost"
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(stream)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)

	count := 0
	gw := first
	all := []*running{first}
	for i := range 20 {
		next := startGateway(t, o)
		all = append(all, next)
		if next.addr != first.addr {
			t.Fatalf("the successor listens on %s", next.addr)
		}
		gw = next
		eventually(t, time.Minute, "requests go on", func() error {
			if n := requests.Load(); n < int64(20*(i+1)) {
				return fmt.Errorf("%d", n)
			}
			return nil
		})
		fmt.Fprintf(ws, "ping %d\n", i)
		if line, err := wr.ReadString('\n'); err != nil || line != fmt.Sprintf("ping %d\n", i) {
			t.Fatalf("after %d hand-overs: %q %v", i+1, line, err)
		}
		if !lines.Scan() || lines.Text() != fmt.Sprint(count) {
			t.Fatalf("the stream broke after %d hand-overs: %q %v", i+1, lines.Text(), lines.Err())
		}
		count++
	}
	if st := gw.status(t); !st.Ready || st.Table.Source != "predecessor" {
		t.Errorf("the last one's status: %+v", st)
	}
	stop.Store(true)
	callers.Wait()
	t.Logf("%d requests over 20 hand-overs", requests.Load())
	ws.Close()
	res.Body.Close()
	for i, old := range all[:20] {
		if err := old.wait(); err != nil {
			t.Errorf("gateway %d: %v", i, err)
		}
	}
	if code, _ := gw.get(t, "app.localhost"); code != 200 {
		t.Errorf("at the end: %d", code)
	}
}

// TestHandOverEnds lets a stop of the successor end a predecessor that is kept
// by a connection.
func TestHandOverEnds(t *testing.T) {
	app := newApp(t)
	dir := shortDir(t)
	saveApp(t, dir, app)
	o := Options{Dir: dir, TakeOver: true, HandOverDrain: time.Hour, Drain: 100 * time.Millisecond}
	first := startGateway(t, o)
	ws, err := net.Dial("tcp", first.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	ws.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprint(ws, "GET /echo HTTP/1.1\r\nHost: app.localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	if res, err := http.ReadResponse(bufio.NewReader(ws), nil); err != nil || res.StatusCode != 101 {
		t.Fatalf("%v %v", res, err)
	}
	o.Listen = first.addr
	second := startGateway(t, o)
	third := startGateway(t, o)
	if err := third.stop(); err != nil {
		t.Error(err)
	}
	for _, g := range []*running{second, first} {
		if err := g.wait(); err != nil {
			t.Error(err)
		}
	}
	if _, err := net.Dial("tcp", first.addr); err == nil {
		t.Error("somebody still listens")
	}
	if _, err := os.Stat(filepath.Join(dir, adminSocket)); err == nil {
		t.Error("the admin socket is left")
	}
}

// TestHandOverToOneThatDies: another one can start at once.
func TestHandOverToOneThatDies(t *testing.T) {
	app := newApp(t)
	dir := shortDir(t)
	saveApp(t, dir, app)
	first := startGateway(t, Options{Dir: dir, Drain: 100 * time.Millisecond})
	in, err := takeOver(t.Context(), dir, "localhost")
	if err != nil {
		t.Fatal(err)
	}
	if err := in.confirm(); err != nil {
		t.Fatal(err)
	}
	in.release()
	<-in.ended
	second := startGateway(t, Options{Dir: dir, TakeOver: true, Listen: first.addr})
	if code, _ := second.get(t, "app.localhost"); code != 200 {
		t.Errorf("it answers %d", code)
	}
	if err := first.wait(); err != nil {
		t.Error(err)
	}
}

// TestHandOverThatFails: the gateway serves on when its successor dies.
func TestHandOverThatFails(t *testing.T) {
	app := newApp(t)
	dir := shortDir(t)
	saveApp(t, dir, app)
	var log syncLog
	gw := startGateway(t, Options{Dir: dir, Log: slogTo(&log)})
	for _, say := range []string{"", "nonsense\n", strings.Repeat("x", 100)} {
		in, err := takeOver(t.Context(), dir, "localhost")
		if err != nil {
			t.Fatal(err)
		}
		if in.table == nil || in.table.Backends["ns/app:80"] == nil {
			t.Errorf("table %+v", in.table)
		}
		io.WriteString(in.conn, say)
		in.release()
	}
	eventually(t, 30*time.Second, "it says so three times", func() error {
		if n := strings.Count(log.String(), "the port was not handed over"); n != 3 {
			return fmt.Errorf("%d times", n)
		}
		return nil
	})
	if code, _ := gw.get(t, "app.localhost"); code != 200 {
		t.Errorf("it answers %d", code)
	}
	// Without being asked to, none takes over; and a socket of something else
	// is no gateway.
	if err := Run(t.Context(), Options{Dir: dir, Kubeconfig: "none", Listen: "127.0.0.1:0"}); !errors.Is(err, problem.ErrExists) {
		t.Errorf("%v", err)
	}
	if code, _ := get(t, "unix", filepath.Join(dir, adminSocket), "gateway", handOverPath); code != http.StatusMethodNotAllowed {
		t.Errorf("GET %s: %d", handOverPath, code)
	}
	other := shortDir(t)
	ln, err := net.Listen("unix", filepath.Join(other, adminSocket))
	if err != nil {
		t.Fatal(err)
	}
	old := &httptest.Server{Listener: ln, Config: &http.Server{Handler: http.NotFoundHandler()}}
	old.Start()
	defer old.Close()
	if _, err := takeOver(t.Context(), other, "localhost"); err == nil || !strings.Contains(err.Error(), "cannot hand over") {
		t.Errorf("%v", err)
	}
}

// TestHandOverToAnotherPort: the new port is served, the old one no more.
func TestHandOverToAnotherPort(t *testing.T) {
	app := newApp(t)
	dir := shortDir(t)
	saveApp(t, dir, app)
	first := startGateway(t, Options{Dir: dir})
	addr := strings.Replace(first.addr, "127.0.0.1", "127.0.0.2", 1)
	second := startGateway(t, Options{Dir: dir, TakeOver: true, Listen: addr})
	if second.addr != addr {
		t.Errorf("it listens on %s", second.addr)
	}
	if err := first.wait(); err != nil {
		t.Error(err)
	}
	if code, _ := second.get(t, "app.localhost"); code != 200 {
		t.Errorf("it answers %d", code)
	}
	if _, err := net.Dial("tcp", first.addr); err == nil {
		t.Error("the old port still answers")
	}
	// The port that is wanted is taken: the one before stays.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if err := Run(t.Context(), Options{Dir: dir, TakeOver: true, Kubeconfig: "none", Listen: taken.Addr().String()}); err == nil {
		t.Error("it listens where another does")
	}
	if code, _ := second.get(t, "app.localhost"); code != 200 {
		t.Errorf("it answers %d", code)
	}
}

func TestSameAddress(t *testing.T) {
	have := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7070}
	for want, same := range map[string]bool{"127.0.0.1:7070": true, "127.0.0.1:0": true, "127.0.0.1:7071": false, "0.0.0.0:7070": false, ":7070": false, "x": false} {
		if sameAddress(have, want) != same {
			t.Errorf("%s: %v", want, !same)
		}
	}
	if !sameAddress(&net.TCPAddr{IP: net.IPv6unspecified, Port: 1}, ":1") {
		t.Error("an unspecified address")
	}
}

type syncLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *syncLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *syncLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
