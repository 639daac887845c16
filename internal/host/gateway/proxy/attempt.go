package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"time"
)

// errNoEndpoint means that the backend had no endpoint for as long as the
// request could wait.
var errNoEndpoint = errors.New("no endpoint")

// pauseBetween is the wait before the same endpoints are tried again.
const pauseBetween = 100 * time.Millisecond

// maxLost bounds how often a request is repeated that reached an endpoint: one
// that breaks the application must not break it many times.
const maxLost = 2

// try sends the request to an endpoint of the backend and returns the answer
// with the endpoint, whose inFlight count the caller lowers. A request that
// did not reach an endpoint goes to another one; so does one that got no
// answer, when it may be repeated. When none is left, it waits for the table
// to change or the endpoints to come back, up to Options.Hold.
func (p *Proxy) try(out *http.Request, id string, body *body, early *interim) (*http.Response, *endpoint, error) {
	ctx := out.Context()
	var (
		room  [4]*endpoint
		tried = room[:0]
		last  error
		hold  *hold
		lost  int // attempts that were sent and got no answer
	)
	defer func() { hold.release() }()
	for {
		live := p.live.Load()
		b := live.backends[id]
		if b == nil { // the table changed: the Service is gone
			return nil, nil, errors.Join(errNoEndpoint, last)
		}
		e := b.pick(tried, time.Now())
		if e == nil {
			if last == nil {
				last = fmt.Errorf("%w: %s", errNoEndpoint, b.why)
			}
			if hold == nil {
				if hold = p.newHold(); hold == nil {
					return nil, nil, last
				}
			}
			if !hold.wait(ctx, live.replaced) {
				return nil, nil, last
			}
			tried = tried[:0]
			continue
		}
		res, err := p.send(out, b, e, early)
		if err == nil {
			return res, e, nil
		}
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		last = err
		if unsent := isDial(err) && !body.started(); !unsent {
			lost++
			if body != nil || !idempotent(out.Method) || isTimeout(err) || lost > maxLost {
				return nil, nil, err
			}
		}
		p.stats.retries.Add(1)
		tried = append(tried, e)
		if len(tried) > 16 { // more endpoints will not help
			return nil, nil, err
		}
	}
}

// send does one attempt.
func (p *Proxy) send(out *http.Request, b *backend, e *endpoint, early *interim) (*http.Response, error) {
	e.inFlight.Add(1)
	var res *http.Response
	var err error
	switch {
	case b.h2c:
		res, err = p.h2c.RoundTrip(addressed(out, e, early))
	case early != nil && out.Body == nil && idempotent(out.Method) && out.Header["Expect"] == nil:
		res, err = p.direct(out, e, early)
	default:
		res, err = p.h1.RoundTrip(addressed(out, e, early))
	}
	if err == nil {
		e.healthy()
		return res, nil
	}
	e.inFlight.Add(-1)
	if isDial(err) && out.Context().Err() == nil {
		e.eject(time.Now())
		p.stats.connectFailures.Add(1)
	}
	return nil, err
}

// addressed gives an attempt a request of its own: a failed one may still be
// held by the transport.
func addressed(out *http.Request, e *endpoint, early *interim) *http.Request {
	if early != nil {
		out = out.WithContext(httptrace.WithClientTrace(out.Context(), &httptrace.ClientTrace{Got1xxResponse: early.send}))
	} else {
		out = out.WithContext(out.Context())
	}
	u := *out.URL
	u.Host = e.addr
	out.URL = &u
	return out
}

func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// isTimeout is for answers that did not come in time: repeating would double
// the wait. A connect that timed out is not one.
func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return !isDial(err) && errors.As(err, &t) && t.Timeout()
}

func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// hold is one waiting request.
type hold struct {
	p     *Proxy
	until time.Time
}

// newHold returns nil when enough requests wait already.
func (p *Proxy) newHold() *hold {
	if p.opts.Hold < 0 {
		return nil
	}
	if p.held.Add(1) > int64(p.opts.MaxHeld) {
		p.held.Add(-1)
		return nil
	}
	return &hold{p: p, until: time.Now().Add(p.opts.Hold)}
}

func (h *hold) release() {
	if h != nil {
		h.p.held.Add(-1)
	}
}

// wait returns false when the time is up or the client has gone.
func (h *hold) wait(ctx context.Context, changed <-chan struct{}) bool {
	left := time.Until(h.until)
	if left <= 0 {
		return false
	}
	t := time.NewTimer(min(left, pauseBetween))
	defer t.Stop()
	select {
	case <-changed:
	case <-t.C:
	case <-ctx.Done():
		return false
	}
	return true
}
