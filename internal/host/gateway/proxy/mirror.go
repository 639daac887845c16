package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/penstock-dev/penstock/internal/host/gateway/route"
)

// A mirror gets a copy of a request; what it answers is thrown away. It must
// never hold the request up: the body is copied while the first endpoint gets
// it, and the copy is sent once that is complete.
const (
	maxMirrors    = 64      // copies under way
	maxMirrorBody = 1 << 20 // a request with a larger body is not copied
	mirrorTime    = 15 * time.Second
)

// mirrors are the copies under way.
type mirrors struct {
	wg sync.WaitGroup
	mu sync.Mutex
	n  int
}

func (m *mirrors) begin() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.n >= maxMirrors {
		return false
	}
	m.n++
	m.wg.Add(1)
	return true
}

func (m *mirrors) end() {
	m.mu.Lock()
	m.n--
	m.mu.Unlock()
	m.wg.Done()
}

func (m *mirrors) wait() { m.wg.Wait() }

// mirror sends copies of the request, which is as it goes out, to those mirrors
// of the rule that get this one.
func (p *Proxy) mirror(out *http.Request, in *body, a *route.Action) {
	n := rand.Uint64() //nolint:gosec // shares of traffic, no secret
	for _, m := range a.Mirrors {
		if !m.Takes(n) {
			continue
		}
		if !p.mirrors.begin() {
			p.stats.notMirrored.Add(1)
			continue
		}
		// As a request of its own: it outlives the one it is a copy of.
		ctx, cancel := context.WithTimeout(p.closing, mirrorTime)
		twin := out.Clone(ctx)
		twin.Body, twin.ContentLength, twin.TransferEncoding, twin.Trailer = nil, 0, nil, nil
		if in == nil {
			go p.sendMirror(twin, m.Backend, nil, cancel)
			continue
		}
		if in.copy == nil {
			in.copy = &bodyCopy{done: make(chan struct{})}
		}
		go p.sendMirror(twin, m.Backend, in.copy, cancel)
	}
}

func (p *Proxy) sendMirror(r *http.Request, backend string, content *bodyCopy, cancel context.CancelFunc) {
	defer p.mirrors.end()
	defer cancel()
	var in *body
	if content != nil {
		b, err := content.wait(r.Context())
		if err != nil {
			p.stats.notMirrored.Add(1)
			return
		}
		if len(b) > 0 {
			in = &body{src: io.NopCloser(bytes.NewReader(b)), rc: http.NewResponseController(nowhere{})}
			r.Body, r.ContentLength = in, int64(len(b))
		}
	}
	res, e, err := p.try(r, backend, in, nil)
	if err != nil {
		p.log.Debug("mirror did not answer", "backend", backend, "err", err)
		return
	}
	defer e.inFlight.Add(-1)
	defer res.Body.Close()
	p.stats.mirrored.Add(1)
	_, _ = io.Copy(io.Discard, res.Body) // its answer is of no interest
}

// bodyCopy is what the first endpoint has been sent of a body.
type bodyCopy struct {
	mu   sync.Mutex
	b    []byte
	err  error // io.EOF: complete
	done chan struct{}
}

var errNotWhole = errors.New("the body is not whole")

// add takes what was read, until err.
func (c *bodyCopy) add(b []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	if len(c.b)+len(b) > maxMirrorBody {
		c.b, err = nil, errNotWhole
	} else {
		c.b = append(c.b, b...)
	}
	if err != nil {
		c.err = err
		close(c.done)
	}
}

// wait returns the body once it is complete. One that never will be ends with
// the time for the mirror.
func (c *bodyCopy) wait(ctx context.Context) ([]byte, error) {
	select {
	case <-c.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !errors.Is(c.err, io.EOF) {
		return nil, errNotWhole
	}
	return c.b, nil
}

// nowhere is the writer of a request that nobody waits for.
type nowhere struct{}

func (nowhere) Header() http.Header         { return http.Header{} }
func (nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (nowhere) WriteHeader(int)             {}
