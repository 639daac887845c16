// Package proxy is the gateway's HTTP handler: it looks the request up in the
// current route table, sends it to one of the endpoints and streams the answer
// back. It knows nothing about Kubernetes.
//
// It is not built on httputil.ReverseProxy except for protocol upgrades: the
// retries, the waiting for an endpoint and the deadlines per read and write
// need the loop in our hands.
package proxy

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-dev/penstock/internal/host/gateway/route"
)

// Options of a [Proxy]. Zero fields mean the defaults.
type Options struct {
	Log *slog.Logger
	// Hold is how long a request that has not been sent yet waits for a
	// backend without usable endpoints to get one. Default 2 s.
	Hold time.Duration
	// MaxHeld bounds the requests that wait. Default 1024.
	MaxHeld int
	// DialTimeout bounds connecting to one endpoint. Default 1 s.
	DialTimeout time.Duration
	// HeaderTimeout bounds the wait for the header of an answer over HTTP/1.
	// Default 5 min.
	HeaderTimeout time.Duration
	// IdleBody bounds the wait for the client in the middle of a request body
	// or to take more of the answer. Default 1 min.
	IdleBody time.Duration
	// OwnHost is Penstock's own name, at which no application answers, and
	// OwnCookie the cookie of its sessions, which none gets to see.
	OwnHost, OwnCookie string
}

// Proxy is an [http.Handler]. [Proxy.Close] releases its connections.
type Proxy struct {
	opts    Options
	log     *slog.Logger
	dialer  *net.Dialer
	h1, h2c *http.Transport
	buffers sync.Pool

	mu        sync.Mutex // serialises Use
	live      atomic.Pointer[live]
	endpoints map[string]*endpoint // by address; guarded by mu

	closing context.Context //nolint:containedctx // ends upgraded connections, which outlive their requests
	close   context.CancelFunc
	sweeper sync.WaitGroup
	mirrors mirrors
	held    atomic.Int64
	stats   counters
}

// live is one table with what belongs to it while it is current.
type live struct {
	table    *route.Table // nil until the first one is known
	backends map[string]*backend
	replaced chan struct{} // closed when a newer table is current
}

// New returns a proxy without routes.
func New(o Options) *Proxy {
	set(&o.Hold, 2*time.Second)
	set(&o.MaxHeld, 1024)
	set(&o.DialTimeout, time.Second)
	set(&o.HeaderTimeout, 5*time.Minute)
	set(&o.IdleBody, time.Minute)
	p := &Proxy{opts: o, log: o.Log, endpoints: map[string]*endpoint{}}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	p.closing, p.close = context.WithCancel(context.Background())
	p.buffers.New = func() any { b := make([]byte, 32<<10); return &b }

	dialer := &net.Dialer{Timeout: o.DialTimeout, KeepAlive: 15 * time.Second}
	p.dialer = dialer
	p.h1 = &http.Transport{
		DialContext:           dialer.DialContext,
		Protocols:             protocols(false),
		DisableCompression:    true, // bodies pass as they are
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       idleConn,
		ResponseHeaderTimeout: o.HeaderTimeout,
		ExpectContinueTimeout: time.Second,
	}
	p.h2c = &http.Transport{
		DialContext:        dialer.DialContext,
		Protocols:          protocols(true),
		DisableCompression: true,
		IdleConnTimeout:    idleConn,
		// A stream may be silent for long; a dead peer is found by pings.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
	}
	p.live.Store(&live{replaced: make(chan struct{})})
	p.sweeper.Go(p.sweep)
	return p
}

func set[T comparable](p *T, def T) {
	var zero T
	if *p == zero {
		*p = def
	}
}

func protocols(h2c bool) *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(!h2c)
	p.SetUnencryptedHTTP2(h2c)
	return p
}

// Use makes t the current table. Requests under way keep their endpoint;
// those that wait for one look again.
func (p *Proxy) Use(t *route.Table) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := &live{table: t, backends: make(map[string]*backend, len(t.Backends)), replaced: make(chan struct{})}
	endpoints := make(map[string]*endpoint, len(p.endpoints))
	for id, b := range t.Backends {
		be := &backend{id: id, h2c: b.H2C, why: b.Why, endpoints: make([]*endpoint, len(b.Endpoints))}
		for i, addr := range b.Endpoints {
			e := endpoints[addr]
			if e == nil {
				if e = p.endpoints[addr]; e == nil {
					e = &endpoint{addr: addr}
				}
				delete(p.endpoints, addr)
				endpoints[addr] = e
			}
			be.endpoints[i] = e
		}
		next.backends[id] = be
	}
	gone := p.endpoints
	p.endpoints = endpoints
	close(p.live.Swap(next).replaced)
	for _, e := range gone {
		e.idle.retire()
	}
}

// sweep closes connections to endpoints that nobody has used for a while.
func (p *Proxy) sweep() {
	tick := time.NewTicker(idleConn / 5)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			p.mu.Lock()
			for _, e := range p.endpoints {
				e.idle.closeOlder(now.Add(-idleConn))
			}
			p.mu.Unlock()
		case <-p.closing.Done():
			return
		}
	}
}

// Table returns the current table, nil before the first. It must not be changed.
func (p *Proxy) Table() *route.Table { return p.live.Load().table }

// Close ends upgraded connections and drops idle ones to the endpoints.
func (p *Proxy) Close() {
	p.close()
	p.sweeper.Wait()
	p.mirrors.wait()
	p.mu.Lock()
	for _, e := range p.endpoints {
		e.idle.retire()
	}
	p.mu.Unlock()
	p.h1.CloseIdleConnections()
	p.h2c.CloseIdleConnections()
}

// ServeHTTP answers one request.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.stats.inFlight.Add(1)
	defer p.stats.inFlight.Add(-1)
	host, ok := route.ParseHost(r.Host)
	if !ok {
		p.fail(w, r, failure{code: http.StatusBadRequest, reason: "the Host header is not the name of a host"})
		return
	}
	if p.opts.own(host) {
		p.fail(w, r, failure{code: http.StatusMisdirectedRequest, reason: host + " is Penstock itself, not an application; the gateway does not serve it"})
		return
	}
	dropCookie(r.Header, p.opts.OwnCookie)
	if r.Method == http.MethodConnect {
		p.fail(w, r, failure{code: http.StatusMethodNotAllowed, reason: "the gateway is not a forward proxy: CONNECT is not served"})
		return
	}
	live := p.live.Load()
	if live.table == nil {
		w.Header().Set("Retry-After", "1")
		p.fail(w, r, failure{code: http.StatusServiceUnavailable, reason: "the gateway does not know any routes yet: it has not reached the cluster"})
		return
	}
	match, miss := live.table.Find(host, route.Request{Method: r.Method, URL: r.URL, Header: r.Header})
	if miss != nil {
		p.fail(w, r, failure{code: http.StatusNotFound, reason: miss.Reason, candidates: miss.Candidates, table: live.table})
		return
	}
	backend := match.Backend
	if match.Action != nil {
		var ok bool
		if backend, ok = p.act(w, r, match.Action); !ok {
			return
		}
	}
	if isUpgrade(r) {
		p.upgrade(w, r, backend, match.Action)
		return
	}
	p.forward(w, r, backend, match.Action)
}
