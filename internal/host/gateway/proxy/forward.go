package proxy

import (
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/penstock-dev/penstock/internal/host/gateway/route"
)

// forward sends a request that is not an upgrade.
func (p *Proxy) forward(w http.ResponseWriter, r *http.Request, backend string, action *route.Action) {
	early := &interim{w: w}
	ctx, cancel := limitTime(r.Context(), action)
	defer cancel()
	out := r.WithContext(ctx)
	out.URL = &url.URL{Scheme: "http", Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery, ForceQuery: r.URL.ForceQuery}
	out.RequestURI = ""
	out.Close = false
	outgoing(out, r)
	edit(out, action)

	var in *body
	if r.Body != nil && r.ContentLength != 0 {
		in = &body{src: r.Body, rc: http.NewResponseController(w), idle: p.opts.IdleBody}
		// An endpoint may answer before it has read everything. Without this
		// net/http would throw away what is left of the request, while it is
		// being sent on.
		_ = in.rc.EnableFullDuplex() // of HTTP/2 it is true anyway
		defer in.detach()
		out.Body = in
	} else {
		out.Body = nil
	}
	if action != nil && len(action.Mirrors) > 0 {
		p.mirror(out, in, action)
	}

	res, e, err := p.try(out, backend, in, early)
	early.stop()
	if in != nil && r.ProtoMajor == 1 && !in.ended() {
		// What is left of the request would be taken for the next one, or
		// waited for.
		w.Header()["Connection"] = []string{"close"}
	}
	if err != nil {
		p.failForward(w, r, backend, err)
		return
	}
	defer e.inFlight.Add(-1)
	defer res.Body.Close()
	if res.StatusCode == http.StatusSwitchingProtocols {
		p.fail(w, r, failure{code: http.StatusBadGateway, reason: "the application switched protocols without being asked to"})
		return
	}
	p.respond(w, r, res, action)
}

// respond copies the answer. A body that breaks off must not look complete, so
// the client's connection is aborted then.
func (p *Proxy) respond(w http.ResponseWriter, r *http.Request, res *http.Response, action *route.Action) {
	announced := incoming(w.Header(), res)
	if action != nil {
		action.ResponseHeaders.Apply(w.Header())
	}
	p.stats.answered(res.StatusCode)
	w.WriteHeader(res.StatusCode)
	if r.Method != http.MethodHead {
		if err := p.copyBody(w, r, res); err != nil {
			if r.Context().Err() == nil {
				p.stats.brokenOff.Add(1)
				p.log.Debug("answer broke off", "host", r.Host, "err", err)
			}
			panic(http.ErrAbortHandler) // net/http's way to abort; it does not log this value
		}
	}
	for k, v := range res.Trailer {
		if !announced[k] {
			k = http.TrailerPrefix + k
		}
		w.Header()[k] = v
	}
}

// copyBody streams. Where the length is not known or events are expected, each
// part is flushed at once.
func (p *Proxy) copyBody(w http.ResponseWriter, r *http.Request, res *http.Response) error {
	flush := res.ContentLength < 0 || len(res.Trailer) > 0 ||
		strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream")
	deadline, _ := w.(interface{ SetWriteDeadline(time.Time) error })
	flusher, _ := w.(http.Flusher)
	if flush && flusher != nil {
		flusher.Flush() // the client may wait for the header before it sends more
	}
	buf := p.buffers.Get().(*[]byte)
	defer p.buffers.Put(buf)
	for {
		n, err := res.Body.Read(*buf)
		if n > 0 {
			if deadline != nil {
				_ = deadline.SetWriteDeadline(time.Now().Add(p.opts.IdleBody))
			}
			if _, err := w.Write((*buf)[:n]); err != nil {
				return err
			}
			if flush && flusher != nil {
				flusher.Flush()
			}
			// A stream of HTTP/2 is reset by its deadline even when nothing
			// is being written.
			if deadline != nil && r.ProtoMajor == 2 {
				_ = deadline.SetWriteDeadline(time.Time{})
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// interim passes 1xx answers on until the final one has come.
type interim struct {
	mu   sync.Mutex
	w    http.ResponseWriter
	done bool
}

func (i *interim) send(code int, header textproto.MIMEHeader) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.done || code == http.StatusSwitchingProtocols {
		return nil
	}
	h := i.w.Header()
	for k, v := range header {
		h[k] = v
	}
	i.w.WriteHeader(code)
	clear(h) // 1xx headers are not those of the answer
	return nil
}

func (i *interim) stop() {
	i.mu.Lock()
	i.done = true
	i.mu.Unlock()
}

// body is the client's request body. It gives the client a limited time for
// each part, knows whether any of it was taken, and is not closed by a failed
// attempt, so that another endpoint can still get it.
type body struct {
	src  io.ReadCloser
	rc   *http.ResponseController
	idle time.Duration

	copy *bodyCopy // for mirrors; may be nil

	mu    sync.Mutex
	taken bool // some was asked for
	read  bool // to the end
	over  bool // the handler has returned
}

func (b *body) started() bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.taken
}

// ended says whether all of it was read.
func (b *body) ended() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.read
}

func (b *body) Read(buf []byte) (int, error) {
	if !b.deadline(b.idle) {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.src.Read(buf)
	if b.copy != nil {
		b.copy.add(buf[:n], err)
	}
	if err == io.EOF {
		b.deadline(0)
	}
	return n, err
}

// deadline sets the time for the next part, none for 0. It does nothing after
// the handler returned: the connection may serve the next request by then.
func (b *body) deadline(d time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return false
	}
	if b.read {
		return true
	}
	b.taken = true
	var t time.Time
	if d > 0 {
		t = time.Now().Add(d)
	}
	b.read = d == 0
	_ = b.rc.SetReadDeadline(t) // not every writer has one; then the server's own timeouts hold
	return true
}

func (b *body) Close() error { return nil }

// detach ends the use of the body. What the endpoint did not want to read, the
// server reads and drops, also only for so long.
func (b *body) detach() {
	b.deadline(b.idle)
	b.mu.Lock()
	b.over = true
	b.mu.Unlock()
}
