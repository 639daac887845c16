package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// rawServer answers the n-th request of the c-th connection with what answer
// returns and closes the connection when it says so.
func rawServer(t *testing.T, answer func(c, n int64) (text string, close bool)) (addr string, connections *atomic.Int64) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	connections = new(atomic.Int64)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			id := connections.Add(1)
			go func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for n := int64(1); ; n++ {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					io.Copy(io.Discard, req.Body)
					text, stop := answer(id, n)
					if _, err := io.WriteString(c, text); err != nil || stop {
						return
					}
				}
			}()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-ended })
	return ln.Addr().String(), connections
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func TestConnectionsAreKept(t *testing.T) {
	addr, connections := rawServer(t, func(c, n int64) (string, bool) { return ok, false })
	f := start(t, Options{}, "http1")
	f.Use(table(false, addr))
	for range 10 {
		f.do(t, "GET", "/", nil)
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections for 10 requests", n)
	}
	// An endpoint that leaves the table loses its connections, one that stays
	// keeps them.
	f.Use(table(false, addr))
	f.do(t, "GET", "/", nil)
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections after the table changed around the endpoint", n)
	}
	f.Use(table(false))
	f.Use(table(false, addr))
	f.do(t, "GET", "/", nil)
	if n := connections.Load(); n != 2 {
		t.Errorf("%d connections, want 2: the endpoint was gone meanwhile", n)
	}
}

func TestStaleConnection(t *testing.T) {
	// Every connection dies silently at its second request.
	addr, connections := rawServer(t, func(c, n int64) (string, bool) {
		if n == 2 {
			return "", true
		}
		return ok, false
	})
	f := start(t, Options{Hold: -1}, "http1")
	f.Use(table(false, addr))
	for i := range 6 {
		if res, body := f.do(t, "GET", "/", nil); res.StatusCode != 200 || body != "ok" {
			t.Fatalf("request %d: %d %q", i, res.StatusCode, body)
		}
	}
	if n := connections.Load(); n != 6 {
		t.Errorf("%d connections, want 6", n)
	}
	if s := f.Stats(); s.Retries != 0 {
		t.Errorf("%d retries: a kept connection that was closed is no failure of the endpoint", s.Retries)
	}
}

func TestStrangeAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		code   int
		body   string
		conns  int64 // for two requests
	}{
		"plain":             {ok, 200, "ok", 1},
		"no content":        {"HTTP/1.1 204 No Content\r\n\r\n", 204, "", 1},
		"not modified":      {"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, "", 1},
		"empty":             {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", 1},
		"chunked":           {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, "ok", 1},
		"asks to close":     {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 200, "ok", 2},
		"old":               {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", 2},
		"more than it said": {ok + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", 200, "ok", 2},
		"early hints":       {"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok, 200, "ok", 1},
		"hints without end": {strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 20) + ok, 502, "", 6},
		"unasked protocol":  {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 502, "", 6},
		"nonsense":          {"SSH-2.0-OpenSSH_9.2\r\n", 502, "", 6},
		"endless header":    {"HTTP/1.1 200 OK\r\n" + strings.Repeat("X-Header: 0123456789\r\n", 100_000) + "\r\n", 502, "", 6},
		"two lengths":       {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!", 502, "", 6},
	} {
		t.Run(name, func(t *testing.T) {
			addr, connections := rawServer(t, func(int64, int64) (string, bool) { return c.answer, false })
			f := start(t, Options{Hold: -1}, "http1")
			f.Use(table(false, addr))
			for range 2 {
				res, body := f.do(t, "GET", "/", nil)
				if res.StatusCode != c.code || (c.code != 502 && body != c.body) {
					t.Errorf("%d %q, want %d %q", res.StatusCode, body, c.code, c.body)
				}
			}
			if n := connections.Load(); n != c.conns && c.code != 502 {
				t.Errorf("%d connections, want %d", n, c.conns)
			}
		})
	}
}

func TestAnswerWithoutEnd(t *testing.T) {
	// No length: the end of the connection is the end of the answer.
	addr, _ := rawServer(t, func(int64, int64) (string, bool) { return "HTTP/1.1 200 OK\r\n\r\nall of it", true })
	f := start(t, Options{}, "http1")
	f.Use(table(false, addr))
	if res, body := f.do(t, "GET", "/", nil); res.StatusCode != 200 || body != "all of it" {
		t.Errorf("%d %q", res.StatusCode, body)
	}
	// With a length, it is a broken answer.
	short, _ := rawServer(t, func(int64, int64) (string, bool) {
		return "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nnot all", true
	})
	f.Use(table(false, short))
	res, err := f.client.Get("http://app.localhost/")
	if err != nil {
		return // it broke off before anything was sent
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("%q looks complete", b)
	}
}

func TestHeaderTimeout(t *testing.T) {
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	var asked atomic.Int64
	addr, _ := rawServer(t, func(c, n int64) (string, bool) {
		if asked.Add(1) == 1 {
			return ok, false
		}
		<-hang
		return ok, true
	})
	f := start(t, Options{HeaderTimeout: 50 * time.Millisecond}, "http1")
	f.Use(table(false, addr))
	f.do(t, "GET", "/", nil) // its connection is kept
	if res, _ := f.do(t, "GET", "/", nil); res.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("%d, want 504", res.StatusCode)
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("asked %d times: a request that timed out must not be repeated", n)
	}
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	var i idleConns
	now := time.Now()
	pipe := func(age time.Duration) *conn {
		a, _ := net.Pipe()
		c := newConn(a)
		i.put(c)
		c.since = now.Add(-age)
		return c
	}
	old, young := pipe(time.Minute), pipe(time.Second)
	i.closeOlder(now.Add(-30 * time.Second))
	if _, err := old.Write([]byte("x")); err != io.ErrClosedPipe {
		t.Errorf("the old one: %v", err)
	}
	if c := i.take(); c != young {
		t.Error("the young one is not there")
	}
	if c := i.take(); c != nil {
		t.Error("there is a third one")
	}
	for range maxIdleConns + 10 {
		pipe(0)
	}
	if n := len(i.list); n != maxIdleConns {
		t.Errorf("%d are kept", n)
	}
	i.retire()
	late := pipe(0)
	if _, err := late.Write([]byte("x")); err != io.ErrClosedPipe {
		t.Errorf("one that came back to a retired endpoint: %v", err)
	}
}
