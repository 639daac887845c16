package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/textproto"
	"sync"
	"time"
)

// Most requests have no body and may be repeated. For these the gateway
// speaks HTTP/1.1 to the endpoint itself, in the goroutine of the request:
// http.Transport has two goroutines for each connection, and handing a request
// over to them and back costs more than all the rest of the work. Reading the
// answer is net/http's code here too.

const (
	maxIdleConns   = 256              // kept for one endpoint
	idleConn       = 50 * time.Second // kept unused
	maxAnswerBytes = 1 << 20          // of header
)

// conn is one connection to an endpoint.
type conn struct {
	net.Conn
	limit io.LimitedReader // what may still be read of a header
	r     *bufio.Reader
	w     *bufio.Writer
	since time.Time // idle since
	used  bool      // it has carried a request before
}

func newConn(c net.Conn) *conn {
	x := &conn{Conn: c}
	x.limit = io.LimitedReader{R: c, N: math.MaxInt64}
	x.r, x.w = bufio.NewReader(&x.limit), bufio.NewWriter(c)
	return x
}

// idleConns are the unused connections of an endpoint, the newest last.
type idleConns struct {
	mu      sync.Mutex
	list    []*conn
	retired bool // no table names the endpoint any more
}

// take returns the connection used last, or nil.
func (i *idleConns) take() *conn {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := len(i.list)
	if n == 0 {
		return nil
	}
	c := i.list[n-1]
	i.list[n-1] = nil
	i.list = i.list[:n-1]
	return c
}

func (i *idleConns) put(c *conn) {
	c.since, c.used = time.Now(), true
	i.mu.Lock()
	if !i.retired && len(i.list) < maxIdleConns {
		i.list = append(i.list, c)
		c = nil
	}
	i.mu.Unlock()
	if c != nil {
		c.Close()
	}
}

// closeOlder closes connections idle since before t.
func (i *idleConns) closeOlder(t time.Time) {
	i.mu.Lock()
	n := 0
	for n < len(i.list) && i.list[n].since.Before(t) {
		n++
	}
	old := append([]*conn(nil), i.list[:n]...)
	i.list = append(i.list[:0], i.list[n:]...)
	i.mu.Unlock()
	for _, c := range old {
		c.Close()
	}
}

// retire closes all, and those that come back later.
func (i *idleConns) retire() {
	i.mu.Lock()
	i.retired = true
	all := i.list
	i.list = nil
	i.mu.Unlock()
	for _, c := range all {
		c.Close()
	}
}

// direct sends a request without a body over a connection of its own. early
// gets 1xx answers. A kept connection that the endpoint has closed meanwhile is
// replaced by a new one.
func (p *Proxy) direct(out *http.Request, e *endpoint, early *interim) (*http.Response, error) {
	for {
		c := e.idle.take()
		if c == nil {
			nc, err := p.dialer.DialContext(out.Context(), "tcp", e.addr)
			if err != nil {
				return nil, err
			}
			c = newConn(nc)
		}
		res, silent, err := p.exchange(out, e, c, early)
		if err == nil {
			return res, nil
		}
		c.Close()
		if c.used && silent && !isTimeout(err) && out.Context().Err() == nil {
			continue
		}
		return nil, err
	}
}

// errNoAnswer is an endpoint that closed the connection instead of answering.
var errNoAnswer = errors.New("it closed the connection without an answer")

// exchange writes the request and reads the header of the answer. silent says
// that not one byte of an answer came.
func (p *Proxy) exchange(out *http.Request, e *endpoint, c *conn, early *interim) (res *http.Response, silent bool, err error) {
	ctx := out.Context()
	if err := c.SetDeadline(time.Now().Add(p.opts.HeaderTimeout)); err != nil {
		return nil, true, err
	}
	// Interrupt both directions when the client goes away.
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if err != nil {
			stop()
		}
	}()
	writeRequest(c.w, out)
	if err := c.w.Flush(); err != nil {
		return nil, true, err
	}
	if _, err := c.r.Peek(1); err != nil {
		if err == io.EOF {
			err = errNoAnswer
		}
		return nil, true, err
	}
	c.limit.N = maxAnswerBytes
	for range 6 { // five 1xx answers are more than enough
		if res, err = http.ReadResponse(c.r, out); err != nil {
			if c.limit.N <= 0 {
				err = errors.New("the header of its answer is larger than 1 MiB")
			}
			return nil, false, err
		}
		if res.StatusCode/100 != 1 || res.StatusCode == http.StatusSwitchingProtocols {
			break
		}
		_ = early.send(res.StatusCode, textproto.MIMEHeader(res.Header))
	}
	c.limit.N = math.MaxInt64
	if res.StatusCode/100 == 1 {
		return nil, false, errors.New("it sends 1xx answers without end, or switches protocols without being asked to")
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return nil, false, err
	}
	if ctx.Err() != nil { // the interruption may just have been undone
		return nil, false, context.Cause(ctx)
	}
	b := &directBody{src: res.Body, conn: c, endpoint: e, keep: !res.Close, stop: stop}
	if res.Body == http.NoBody {
		b.finish(true)
	}
	res.Body = b
	return res, false, nil
}

// writeRequest writes a request as net/http would. Names and values come from
// a header that net/http has read, so there is nothing in them to escape.
func writeRequest(w *bufio.Writer, r *http.Request) {
	w.WriteString(r.Method)
	w.WriteByte(' ')
	w.WriteString(r.URL.RequestURI())
	w.WriteString(" HTTP/1.1\r\nHost: ")
	w.WriteString(r.Host)
	w.WriteString("\r\n")
	for k, values := range r.Header {
		for _, v := range values {
			if k == "User-Agent" && v == "" {
				continue
			}
			w.WriteString(k)
			w.WriteString(": ")
			w.WriteString(v)
			w.WriteString("\r\n")
		}
	}
	w.WriteString("\r\n")
}

// directBody is the body of an answer. Its end gives the connection back.
type directBody struct {
	src      io.ReadCloser
	conn     *conn
	endpoint *endpoint
	keep     bool
	stop     func() bool
	over     bool
}

func (b *directBody) Read(buf []byte) (int, error) {
	if b.over {
		return 0, io.EOF
	}
	n, err := b.src.Read(buf)
	if err != nil {
		b.finish(err == io.EOF)
	}
	return n, err
}

func (b *directBody) Close() error {
	b.finish(false)
	return nil
}

// finish keeps the connection when the answer was read to its end and nothing
// follows it.
func (b *directBody) finish(complete bool) {
	if b.over {
		return
	}
	b.over = true
	interrupted := !b.stop()
	if complete && b.keep && !interrupted && b.conn.r.Buffered() == 0 {
		b.endpoint.idle.put(b.conn)
		return
	}
	b.conn.Close()
}
