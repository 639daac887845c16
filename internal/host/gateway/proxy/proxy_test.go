package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock-dev/penstock/internal/host/gateway/route"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// table routes app.localhost to the endpoints.
func table(h2c bool, endpoints ...string) *route.Table {
	t := route.Empty("localhost")
	t.Hosts = map[string]*route.Host{"app.localhost": {Rules: []route.Rule{{Path: "/", Backend: "ns/app:80", Source: "ns/app"}}}}
	t.Backends = map[string]*route.Backend{"ns/app:80": {Endpoints: endpoints, H2C: h2c, Why: "none of its 1 endpoints is ready"}}
	return t
}

type fixture struct {
	*Proxy
	url    string
	client *http.Client
}

// start runs a proxy behind a real server and a client that resolves every
// name to it.
func start(t testing.TB, o Options, protocol string) *fixture {
	t.Helper()
	p := New(o)
	srv := httptest.NewUnstartedServer(p)
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetHTTP1(true)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	tr := &http.Transport{
		Protocols:          protocols(protocol == "h2c"),
		DisableCompression: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, srv.Listener.Addr().String())
		},
	}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		srv.Close()
		p.Close()
	})
	return &fixture{p, srv.URL, &http.Client{Transport: tr, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func (f *fixture) do(t testing.TB, method, path string, body io.Reader, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://app.localhost"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err := f.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

func serverH2C(t testing.TB, h http.Handler) string {
	srv := httptest.NewUnstartedServer(h)
	srv.Config.Protocols = protocols(true)
	srv.Start()
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

func server(t testing.TB, h http.HandlerFunc) string {
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// dead is an address that refuses connections.
func dead(t testing.TB) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func TestHeaders(t *testing.T) {
	for _, protocol := range []string{"http1", "h2c"} {
		t.Run(protocol, func(t *testing.T) {
			var got *http.Request
			f := start(t, Options{}, protocol)
			f.Use(table(false, server(t, func(w http.ResponseWriter, r *http.Request) {
				got = r.Clone(context.Background())
				w.Header()["Content-Type"] = nil
				w.Header().Set("Connection", "X-Private")
				w.Header().Set("X-Private", "1")
				w.Header().Set("Keep-Alive", "timeout=5")
				w.Header().Add("Set-Cookie", "a=1")
				w.Header().Add("Set-Cookie", "b=2")
				w.WriteHeader(http.StatusTeapot)
				io.WriteString(w, "<html>")
			})))
			header := []string{"X-Forwarded-For", "1.2.3.4", "Forwarded", "for=1.2.3.4", "X-Real-IP", "1.2.3.4", "X-Kept", "yes", "Te", "trailers", "Proxy-Authorization", "x"}
			if protocol == "http1" {
				header = append(header, "Connection", "X-Drop, close", "X-Drop", "1", "Keep-Alive", "1")
			}
			res, body := f.do(t, "GET", "/a%2Fb/../c?x=1;y=%zz&q", nil, header...)
			if res.StatusCode != http.StatusTeapot || body != "<html>" {
				t.Errorf("answer: %d %q", res.StatusCode, body)
			}
			if got.RequestURI != "/a%2Fb/../c?x=1;y=%zz&q" {
				t.Errorf("request uri %q was rewritten", got.RequestURI)
			}
			if got.Host != "app.localhost" {
				t.Errorf("host %q", got.Host)
			}
			for k, want := range map[string]string{
				"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "app.localhost", "X-Forwarded-Proto": "http",
				"Forwarded": "", "X-Real-Ip": "", "X-Drop": "", "Keep-Alive": "", "Proxy-Authorization": "", "X-Kept": "yes", "Te": "trailers", "Accept-Encoding": "",
			} {
				if v := strings.Join(got.Header[k], "|"); v != want {
					t.Errorf("request header %s = %q, want %q", k, v, want)
				}
			}
			for k, want := range map[string]string{"X-Private": "", "Keep-Alive": "", "Content-Type": "", "Set-Cookie": "a=1|b=2"} {
				if v := strings.Join(res.Header[k], "|"); v != want {
					t.Errorf("response header %s = %q, want %q", k, v, want)
				}
			}
		})
	}
}

// TestStreaming checks that neither direction is buffered and that trailers
// arrive, for every pair of protocols.
func TestStreaming(t *testing.T) {
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Announced")
		rc := http.NewResponseController(w)
		rc.EnableFullDuplex()
		w.WriteHeader(200)
		rc.Flush()
		buf := make([]byte, 100)
		for {
			n, err := r.Body.Read(buf)
			w.Write(buf[:n])
			rc.Flush()
			if err != nil {
				break
			}
		}
		w.Header().Set("X-Announced", "a")
		w.Header().Set(http.TrailerPrefix+"X-Late", "b")
	})
	for _, c := range []struct {
		client string
		h2c    bool
	}{{"h2c", true}, {"h2c", false}, {"http1", true}} {
		t.Run(fmt.Sprint(c.client, " to h2c=", c.h2c), func(t *testing.T) {
			f := start(t, Options{}, c.client)
			addr := ""
			if c.h2c {
				addr = serverH2C(t, echo)
			} else {
				addr = server(t, echo)
			}
			f.Use(table(c.h2c, addr))
			if c.client == "http1" { // net/http's HTTP/1 client does not do both at once
				res, body := f.do(t, "POST", "/", io.MultiReader(strings.NewReader("one"), strings.NewReader("two")))
				if body != "onetwo" || res.Trailer.Get("X-Announced") != "a" || res.Trailer.Get("X-Late") != "b" {
					t.Errorf("body %q trailer %v", body, res.Trailer)
				}
				return
			}
			pr, pw := io.Pipe()
			req, _ := http.NewRequestWithContext(t.Context(), "POST", "http://app.localhost/", pr)
			res, err := f.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			for i := range 3 {
				msg := fmt.Sprint("part ", i)
				if _, err := io.WriteString(pw, msg); err != nil {
					t.Fatal(err)
				}
				buf := make([]byte, len(msg))
				if _, err := io.ReadFull(res.Body, buf); err != nil || string(buf) != msg {
					t.Fatalf("part %d: %q %v", i, buf, err)
				}
			}
			pw.Close()
			if rest, err := io.ReadAll(res.Body); err != nil || len(rest) > 0 {
				t.Fatalf("rest %q %v", rest, err)
			}
			if res.Trailer.Get("X-Announced") != "a" || res.Trailer.Get("X-Late") != "b" {
				t.Errorf("trailer %v", res.Trailer)
			}
		})
	}
}

func TestServerSentEvents(t *testing.T) {
	next := make(chan struct{})
	f := start(t, Options{}, "http1")
	f.Use(table(false, server(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
			<-next
		}
	})))
	req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://app.localhost/", nil)
	res, err := f.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	r := bufio.NewReader(res.Body)
	for i := range 3 {
		line, err := r.ReadString('\n')
		if err != nil || line != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("event %d: %q %v", i, line, err)
		}
		r.ReadString('\n')
		next <- struct{}{}
	}
}

func TestUpgrade(t *testing.T) {
	f := start(t, Options{}, "http1")
	ended := make(chan error, 1)
	f.Use(table(false, server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "echo" || r.Header.Get("X-Forwarded-For") != "127.0.0.1" {
			http.Error(w, "no", 400)
			return
		}
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			ended <- err
			return
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, err = io.Copy(c, rw)
		ended <- err
	})))
	c, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != 101 {
		t.Fatalf("%v %v", res, err)
	}
	for i := range 3 {
		msg := fmt.Sprintf("hello %d\n", i)
		io.WriteString(c, msg)
		if got, err := r.ReadString('\n'); err != nil || got != msg {
			t.Fatalf("%q %v", got, err)
		}
	}
	if n := f.Stats().Upgraded; n != 1 {
		t.Errorf("upgraded = %d, want 1", n)
	}
	f.Close() // the gateway has drained long enough
	if _, err := r.ReadByte(); err == nil {
		t.Error("the connection outlived Close")
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the application's side outlived Close")
	}
}

// TestUpgradeOfH2C checks that an offer is ignored, as curl --http2 makes one.
func TestUpgradeOfH2C(t *testing.T) {
	f := start(t, Options{}, "http1")
	f.Use(table(false, server(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("Upgrade")) })))
	if res, body := f.do(t, "GET", "/", nil, "Connection", "Upgrade, HTTP2-Settings", "Upgrade", "h2c", "HTTP2-Settings", "AAMAAABkAAQ"); res.StatusCode != 200 || body != "" {
		t.Errorf("%d %q", res.StatusCode, body)
	}
}

func TestRetryOnConnectFailure(t *testing.T) {
	var served atomic.Int64
	f := start(t, Options{}, "http1")
	f.Use(table(false, dead(t), server(t, func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		io.Copy(w, r.Body)
	})))
	// Not even a POST with a body is lost: it was not sent.
	for i := range 20 {
		want := fmt.Sprint("body ", i)
		if res, body := f.do(t, "POST", "/", io.MultiReader(strings.NewReader(want))); res.StatusCode != 200 || body != want {
			t.Fatalf("request %d: %d %q", i, res.StatusCode, body)
		}
	}
	if served.Load() != 20 {
		t.Errorf("served %d times, want 20", served.Load())
	}
	if s := f.Stats(); s.ConnectFailures == 0 || s.ConnectFailures > 5 {
		t.Errorf("connect failures = %d: the dead endpoint must be tried, and then passed over for a while", s.ConnectFailures)
	}
}

// TestNoAnswer has endpoints that take a request and close the connection.
func TestNoAnswer(t *testing.T) {
	var hits atomic.Int64
	broken := func() string {
		return server(t, func(w http.ResponseWriter, r *http.Request) {
			hits.Add(1)
			io.Copy(io.Discard, r.Body)
			panic(http.ErrAbortHandler)
		})
	}
	good := server(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") })
	f := start(t, Options{}, "http1")
	f.Use(table(false, broken(), good))
	for range 10 {
		if res, body := f.do(t, "GET", "/", nil); res.StatusCode != 200 || body != "ok" {
			t.Fatalf("GET: %d %q", res.StatusCode, body)
		}
	}
	f.Use(table(false, broken()))
	hits.Store(0)
	if res, _ := f.do(t, "GET", "/", nil); res.StatusCode != http.StatusBadGateway || hits.Load() != 1+maxLost {
		t.Errorf("GET of one that always breaks: %d after %d attempts", res.StatusCode, hits.Load())
	}
	hits.Store(0)
	if res, _ := f.do(t, "POST", "/", strings.NewReader("x")); res.StatusCode != http.StatusBadGateway || hits.Load() != 1 {
		t.Errorf("POST: %d after %d attempts; it must not be repeated", res.StatusCode, hits.Load())
	}
}

func TestHold(t *testing.T) {
	addr := server(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	f := start(t, Options{Hold: 10 * time.Second}, "http1")
	f.Use(table(false))
	var wg sync.WaitGroup
	for i := range 5 {
		wg.Go(func() {
			want := fmt.Sprint("body ", i)
			if res, body := f.do(t, "POST", "/", strings.NewReader(want)); res.StatusCode != 200 || body != want {
				t.Errorf("%d %q", res.StatusCode, body)
			}
		})
	}
	for f.Stats().Held < 5 {
		time.Sleep(time.Millisecond)
	}
	f.Use(table(false, addr))
	wg.Wait()
	if n := f.Stats().Held; n != 0 {
		t.Errorf("held = %d at the end", n)
	}
}

func TestHoldEnds(t *testing.T) {
	f := start(t, Options{Hold: 30 * time.Millisecond}, "http1")
	f.Use(table(false))
	res, body := f.do(t, "GET", "/", nil)
	if res.StatusCode != 503 || !strings.Contains(body, "Service ns/app:80 cannot answer: none of its 1 endpoints is ready") || res.Header.Get("Retry-After") == "" {
		t.Errorf("no endpoint: %d %q", res.StatusCode, body)
	}
	f.Use(table(false, dead(t)))
	if res, body := f.do(t, "GET", "/", nil); res.StatusCode != 502 || !strings.Contains(body, "connection refused") {
		t.Errorf("dead endpoint: %d %q", res.StatusCode, body)
	}
	res, _ = f.do(t, "POST", "/svc/Method", nil, "Content-Type", "application/grpc")
	if res.StatusCode != 200 || res.Header.Get("Grpc-Status") != "14" {
		t.Errorf("grpc: %d %v", res.StatusCode, res.Header)
	}
	off := start(t, Options{Hold: -1}, "http1")
	off.Use(table(false))
	began := time.Now()
	if res, _ := off.do(t, "GET", "/", nil); res.StatusCode != 503 || time.Since(began) > time.Second {
		t.Errorf("without hold: %d after %v", res.StatusCode, time.Since(began))
	}
}

// TestChange replaces the table under load: no request may fail.
func TestChange(t *testing.T) {
	var addrs []string
	for i := range 4 {
		addrs = append(addrs, server(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, i) }))
	}
	f := start(t, Options{}, "http1")
	f.Use(table(false, addrs[0]))
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	var seen [4]atomic.Int64
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				res, body := f.do(t, "GET", "/", nil)
				if res.StatusCode != 200 {
					t.Errorf("%d %s", res.StatusCode, body)
					return
				}
				seen[body[0]-'0'].Add(1)
			}
		})
	}
	for i := 0; ctx.Err() == nil; i++ {
		f.Use(table(false, addrs[i%4], addrs[(i+1)%4]))
		time.Sleep(time.Millisecond)
	}
	wg.Wait()
	for i := range seen {
		if seen[i].Load() == 0 {
			t.Errorf("endpoint %d got no request", i)
		}
	}
}

func TestBalance(t *testing.T) {
	b := &backend{endpoints: []*endpoint{{addr: "a"}, {addr: "b"}, {addr: "c"}}}
	now := time.Unix(1000, 0)
	count := map[string]int{}
	for range 300 {
		count[b.pick(nil, now).addr]++
	}
	if count["a"] != 100 || count["b"] != 100 || count["c"] != 100 {
		t.Errorf("idle endpoints in turn: %v", count)
	}
	b.endpoints[0].inFlight.Store(5)
	b.endpoints[1].inFlight.Store(3)
	for range 10 {
		if e := b.pick(nil, now); e.addr != "c" {
			t.Fatalf("picked %s, not the one with the fewest requests", e.addr)
		}
	}
	b.endpoints[2].eject(now)
	if e := b.pick(nil, now); e.addr != "b" {
		t.Errorf("picked %s after c was ejected", e.addr)
	}
	if e := b.pick(nil, now.Add(time.Minute)); e.addr != "c" {
		t.Errorf("picked %s after the pause of c", e.addr)
	}
	b.endpoints[0].eject(now)
	b.endpoints[0].eject(now)
	b.endpoints[1].eject(now)
	if e := b.pick([]*endpoint{b.endpoints[1], b.endpoints[2]}, now); e.addr != "a" {
		t.Errorf("picked %v when all are ejected and a is the last", e)
	}
	if e := b.pick(b.endpoints, now); e != nil {
		t.Errorf("picked %s, which was tried", e.addr)
	}
	b.endpoints[0].healthy()
	if b.endpoints[0].until.Load() != 0 {
		t.Error("a success did not end the pause")
	}
}

func TestBrokenAnswer(t *testing.T) {
	f := start(t, Options{}, "http1")
	f.Use(table(false, server(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, strings.Repeat("x", 100_000))
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})))
	res, err := f.client.Get("http://app.localhost/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("an answer that broke off after %d bytes looks complete", len(b))
	}
}

func TestInterimAnswers(t *testing.T) {
	f := start(t, Options{}, "http1")
	f.Use(table(false, server(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		io.Copy(w, r.Body)
	})))
	var early []int
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		early = append(early, code)
		if code == 103 && h.Get("Link") == "" {
			return errors.New("103 without its header")
		}
		return nil
	}})
	req, _ := http.NewRequestWithContext(ctx, "POST", "http://app.localhost/", bytes.NewReader([]byte("body")))
	res, err := f.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	if fmt.Sprint(early) != "[103]" || string(b) != "body" || res.Header.Get("Link") != "" {
		t.Errorf("interim %v, body %q, Link %q", early, b, res.Header.Get("Link"))
	}
}

func TestClientGone(t *testing.T) {
	gone := make(chan struct{})
	entered := make(chan struct{})
	f := start(t, Options{}, "http1")
	f.Use(table(false, server(t, func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		close(gone)
	})))
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "GET", "http://app.localhost/", nil)
	go func() { <-entered; cancel() }()
	if _, err := f.client.Do(req); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	select {
	case <-gone:
	case <-time.After(5 * time.Second):
		t.Fatal("the application was not told that the client has gone")
	}
	for f.Stats().InFlight > 0 {
		time.Sleep(time.Millisecond)
	}
	if s := f.Stats(); s.ClientGone != 1 {
		t.Errorf("stats %+v", s)
	}
}

// TestSlowClient sends half a body and stops.
func TestSlowClient(t *testing.T) {
	f := start(t, Options{IdleBody: 100 * time.Millisecond}, "http1")
	f.Use(table(false, server(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })))
	c, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 10\r\n\r\nhalf")
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadAll(c); err != nil {
		t.Fatalf("the connection of a client that stopped in the middle was not closed: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	f := start(t, Options{}, "http1")
	f.Use(table(false, dead(t)))
	raw := func(request string) string {
		c, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(c, request)
		b, _ := io.ReadAll(c)
		return string(b)
	}
	for _, c := range []struct{ request, want string }{
		{"GET / HTTP/1.1\r\nHost: nowhere.localhost:7070\r\nConnection: close\r\n\r\n", "404 Not Found\nthere is no Service and no Ingress for nowhere.localhost\nhosts that answer here:\n  http://app.localhost:7070/\n"},
		{"GET / HTTP/1.1\r\nHost: a/b\r\nConnection: close\r\n\r\n", "400 Bad Request"},
		{"GET / HTTP/1.1\r\nHost: a..b\r\nConnection: close\r\n\r\n", "the Host header is not the name of a host"},
		{"CONNECT app.localhost:80 HTTP/1.1\r\nHost: app.localhost:80\r\nConnection: close\r\n\r\n", "CONNECT is not served"},
		{"GET / HTTP/1.1\r\nHost: nowhere.localhost\r\nAccept: text/html\r\nConnection: close\r\n\r\n", `<a href="http://app.localhost/">`},
		{"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\nConnection: close\r\n\r\n", "400 Bad Request"},
		{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n", "404"},
	} {
		if got := raw(c.request); !strings.Contains(got, c.want) {
			t.Errorf("%q:\n got %q\nwant %q", c.request, got, c.want)
		}
	}
	// Somebody else's machine does not see what there is.
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "http://nowhere.localhost/", nil)
	r.RemoteAddr = "192.0.2.1:1234"
	f.ServeHTTP(w, r)
	if strings.Contains(w.Body.String(), "app.localhost") {
		t.Errorf("a stranger got the hosts: %s", w.Body)
	}
}

// TestEarlyAnswer: an endpoint may answer without reading the request. The
// client gets the answer, and its next request is served.
func TestEarlyAnswer(t *testing.T) {
	f := start(t, Options{}, "http1")
	f.Use(table(false, server(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "2")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		io.WriteString(w, "no")
	})))
	for i := range 200 {
		size := 1 << (i % 18) // net/http reads the rest of up to 256 KiB, and breaks off beyond
		c, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(60 * time.Second))
		fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: %d\r\n\r\n", size)
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			c.Write(make([]byte, size)) // the other side may not want all of it
		}()
		r := bufio.NewReader(c)
		res, err := http.ReadResponse(r, nil)
		if err != nil || res.StatusCode != http.StatusRequestEntityTooLarge {
			t.Fatalf("%d bytes: %+v %v", size, res, err)
		}
		if b, err := io.ReadAll(res.Body); err != nil || string(b) != "no" {
			t.Fatalf("%d bytes: %q %v", size, b, err)
		}
		if !res.Close {
			<-sent
			fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n")
			if res, err := http.ReadResponse(r, nil); err != nil || res.StatusCode != http.StatusRequestEntityTooLarge {
				t.Fatalf("%d bytes, the next request: %+v %v", size, res, err)
			}
		}
		c.Close()
		<-sent
	}
}
