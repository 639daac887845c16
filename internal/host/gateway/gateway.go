// Package gateway is the data plane: a process of its own that routes
// http://<app>.localhost:7070 to the Pods of the cluster. It watches Services,
// EndpointSlices and Ingresses, makes a route table of them (package route)
// and proxies by it (package proxy).
//
// Traffic depends on nothing but this process and the Pods: the last good table
// is on the disk, so requests are served while the API server is away, also
// after a restart of the gateway.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/gateway/proxy"
)

// Options of the gateway. Dir and Kubeconfig must be given.
type Options struct {
	Dir        string // where its own files are: admin.sock, routes.json
	Kubeconfig string // may appear later
	Listen     string // default "127.0.0.1:7070"
	Domain     string // default "localhost": apps answer on <app>.localhost
	Log        *slog.Logger
	// MaxConnections bounds the clients' connections; more wait to be
	// accepted. Default 10,000.
	MaxConnections int
	// Drain is how long requests may go on after the context ended. Default
	// 20 s.
	Drain time.Duration
	// Ready is called once with the address when requests are accepted.
	Ready func(net.Addr)
	Proxy proxy.Options
}

// Limits of what one client may hold on to.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
)

// Run serves until ctx ends and the requests under way are answered.
func Run(ctx context.Context, o Options) error {
	o = withDefaults(o)
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return fmt.Errorf("create gateway directory: %w", err)
	}
	lock, err := lockDir(o.Dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	ln, err := listen(ctx, o.Listen, o.MaxConnections)
	if err != nil {
		return err
	}
	defer ln.Close()

	p := proxy.New(o.Proxy)
	defer p.Close()
	st := newState(time.Now(), ln.Addr())
	file := filepath.Join(o.Dir, "routes.json")
	switch t, at, err := loadTable(file, o.Domain); {
	case err == nil:
		p.Use(t)
		st.loaded(at)
		o.Log.Info("serving the last known routes", "hosts", len(t.HostNames()), "saved", at)
	case !errors.Is(err, fs.ErrNotExist):
		o.Log.Warn("the saved routes cannot be used", "file", file, "err", err)
	}
	admin, err := newAdmin(filepath.Join(o.Dir, "admin.sock"), p, st)
	if err != nil {
		return err
	}

	w := &watcher{
		kubeconfig: o.Kubeconfig,
		domain:     o.Domain,
		log:        o.Log,
		state:      st,
		use:        p.Use,
		file:       file,
		status:     ingressStatus(o.Domain, ln.Addr()),
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.run(gctx) })
	g.Go(func() error { return admin.run(gctx) })
	g.Go(func() error { return serve(gctx, o, ln, p) })
	if o.Ready != nil {
		o.Ready(ln.Addr())
	}
	return g.Wait()
}

func withDefaults(o Options) Options {
	if o.Listen == "" {
		o.Listen = "127.0.0.1:7070"
	}
	if o.Domain == "" {
		o.Domain = "localhost"
	}
	if o.MaxConnections == 0 {
		o.MaxConnections = 10000
	}
	if o.Drain == 0 {
		o.Drain = 20 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Proxy.Log == nil {
		o.Proxy.Log = o.Log
	}
	return o
}

// serve answers requests until ctx ends, then drains.
func serve(ctx context.Context, o Options, ln net.Listener, p *proxy.Proxy) error {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{
		Handler:           p,
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 250, SendPingTimeout: time.Minute, PingTimeout: 15 * time.Second, WriteByteTimeout: time.Minute},
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve the gateway: %w", err)
	case <-ctx.Done():
	}
	o.Log.Info("draining", "inFlight", p.Stats().InFlight, "atMost", o.Drain.String())
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.Drain)
	defer cancel()
	err := srv.Shutdown(drain)
	<-failed
	waitUpgraded(drain, p)
	p.Close()
	if err != nil {
		srv.Close()
		o.Log.Warn("requests were cut off at the end of the drain", "inFlight", p.Stats().InFlight)
	}
	return nil
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

var errTaken = fmt.Errorf("%w: another gateway uses this directory", problem.ErrExists)
