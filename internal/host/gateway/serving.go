package gateway

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/penstock-dev/penstock/internal/host/gateway/proxy"
)

// serving is the HTTP server for the clients.
type serving struct {
	opts      Options
	proxy     *proxy.Proxy
	srv       *http.Server
	ln        *limited
	pods      net.Listener // where Pods find us; may be nil
	podsEnded chan struct{}
	leaving   atomic.Bool  // each answer is the last of its connection
	conns     atomic.Int64 // open, of those that net/http knows
	ended     chan error   // what Serve returned
}

func newServing(o Options, ln *limited, pods net.Listener, p *proxy.Proxy) *serving {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s := &serving{opts: o, proxy: p, ln: ln, pods: pods, ended: make(chan error, 1)}
	s.srv = &http.Server{
		Handler:           http.HandlerFunc(s.handle),
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 250, SendPingTimeout: time.Minute, PingTimeout: 15 * time.Second, WriteByteTimeout: time.Minute},
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				s.conns.Add(1)
			case http.StateClosed, http.StateHijacked:
				s.conns.Add(-1)
			}
		},
	}
	return s
}

func (s *serving) start() {
	s.podsEnded = make(chan struct{})
	go func() {
		defer close(s.podsEnded)
		if s.pods != nil {
			_ = s.srv.Serve(s.pods) // ends with the server, of which the other tells
		}
	}()
	go func() { s.ended <- s.srv.Serve(s.ln) }()
}

// handle tells clients of a gateway that leaves to open another connection for
// their next request, which its successor accepts. Closing idle connections
// instead would lose the requests that are on their way over them. (Over HTTP/2
// the header becomes a GOAWAY.)
func (s *serving) handle(w http.ResponseWriter, r *http.Request) {
	if s.leaving.Load() && r.Header["Upgrade"] == nil {
		w.Header()["Connection"] = []string{"close"}
	}
	s.proxy.ServeHTTP(w, r)
}

// leave stops accepting: the port has another owner.
func (s *serving) leave() {
	s.leaving.Store(true)
	s.ln.Close()
	if s.pods != nil {
		s.pods.Close() // the successor has one of its own beside it
	}
	<-s.podsEnded
	<-s.ended
}

// outlive answers on the connections accepted before leave, until all are
// closed, the time is over, or hurry. It stays for a predecessor that does the
// same: that one knows only us.
func (s *serving) outlive(ctx context.Context, hurry <-chan struct{}, alone func() bool) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.HandOverDrain)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for s.conns.Load() > 0 || s.proxy.Stats().Upgraded > 0 || !alone() {
		select {
		case <-tick.C:
		case <-hurry:
			return
		case <-ctx.Done():
			return
		}
	}
}

// handOver tells the successor that all is its own, and sees to the end of what
// was accepted before.
func (s *serving) handOver(ctx context.Context, next successor, alone func() bool) error {
	defer next.conn.Close()
	_ = next.conn.SetWriteDeadline(time.Now().Add(handOverStep))
	if _, err := io.WriteString(next.conn, handOverYours); err != nil {
		s.drain(ctx)
		return fmt.Errorf("hand over: %w", err) // it has ended; our supervisor starts another one
	}
	gone := next.gone()
	s.outlive(ctx, gone, alone)
	s.drain(ctx)
	next.conn.Close()
	<-gone
	return nil
}

// drain ends idle connections and lets requests under way go on for a while.
func (s *serving) drain(ctx context.Context) {
	s.opts.Log.Info("draining", "inFlight", s.proxy.Stats().InFlight, "atMost", s.opts.Drain.String())
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.Drain)
	defer cancel()
	err := s.srv.Shutdown(drain)
	waitUpgraded(drain, s.proxy)
	s.proxy.Close()
	if err != nil {
		s.srv.Close()
		s.opts.Log.Warn("requests were cut off at the end of the drain", "inFlight", s.proxy.Stats().InFlight)
	}
}

// waitUpgraded waits for connections that net/http no longer knows: those that
// switched protocols.
func waitUpgraded(ctx context.Context, p *proxy.Proxy) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for p.Stats().Upgraded > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// failure is what Serve returned, as an error of the gateway.
func (s *serving) failure(err error) error { return fmt.Errorf("serve the gateway: %w", err) }
