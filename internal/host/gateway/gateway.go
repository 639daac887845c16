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
	"log/slog"
	"net"
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
	// PodListen is a further address, where Pods of the embedded cluster find
	// the gateway; it need not exist yet.
	PodListen string
	Domain    string // default "localhost": apps answer on <app>.localhost
	Log       *slog.Logger
	// MaxConnections bounds the clients' connections; more wait to be
	// accepted. Default 10,000.
	MaxConnections int
	// Drain is how long requests may go on after the context ended. Default
	// 20 s.
	Drain time.Duration
	// TakeOver lets the gateway take the port from one that runs with the same
	// Dir; else it is an error that there is one.
	TakeOver bool
	// HandOverDrain is how long connections may go on after another gateway
	// took over. Default 5 min.
	HandOverDrain time.Duration
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

// Run serves until ctx ends, or until another gateway takes over, and the
// requests under way are answered.
func Run(ctx context.Context, o Options) error {
	o = withDefaults(o)
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return fmt.Errorf("create gateway directory: %w", err)
	}
	lock, ln, in, err := begin(ctx, o)
	if err != nil {
		return err
	}
	defer lock.Close()
	defer ln.Close()
	if in != nil {
		defer in.conn.Close()
	}

	pods, err := listenForPods(ctx, o)
	if err != nil {
		return err
	}
	p := proxy.New(o.Proxy)
	defer p.Close()
	st := newState(time.Now(), ln.Addr())
	file := filepath.Join(o.Dir, "routes.json")
	switch t, at, source, err := loadFirst(in, file, o.Domain); {
	case err != nil:
		o.Log.Warn("the saved routes cannot be used", "file", file, "err", err)
	case t != nil:
		p.Use(t)
		st.table(source, at)
		o.Log.Info("serving the last known routes", "hosts", len(t.HostNames()), "source", source, "saved", at)
	}
	srv := newServing(o, limit(ln, o.MaxConnections), pods, p)
	srv.start()
	defer in.leave(o.Drain + handOverStep)
	if in != nil {
		if err := in.confirm(); err != nil {
			// It goes on serving, so what we have accepted is all there is.
			srv.leave()
			srv.drain(ctx)
			return err
		}
		o.Log.Info("took over from the running gateway")
	}
	admin, err := newAdmin(ctx, filepath.Join(o.Dir, adminSocket), p, st)
	if err != nil {
		srv.leave()
		srv.drain(ctx)
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
	work, stop := context.WithCancel(ctx)
	defer stop()
	var workers errgroup.Group
	failed := make(chan error, 1)
	workers.Go(func() error { w.run(work); return nil })
	workers.Go(func() error { return tell(failed, admin.run(work)) })
	if o.Ready != nil {
		o.Ready(ln.Addr())
	}
	for {
		select {
		case next := <-admin.successors:
			if err := offer(ctx, next.conn, next.r, ln, lock, p.Table()); err != nil {
				o.Log.Warn("the port was not handed over", "err", err)
				next.conn.Close()
				continue
			}
			admin.handedOver()
			srv.leave()
			stop()
			err := errors.Join(workers.Wait(), lock.Close()) // it is the successor's, also should that die
			o.Log.Info("handed over", "connections", srv.conns.Load(), "atMost", o.HandOverDrain.String())
			return errors.Join(err, srv.handOver(ctx, next, in.alone))
		case err := <-srv.ended:
			stop()
			return errors.Join(srv.failure(err), workers.Wait())
		case err := <-failed:
			if ctx.Err() == nil {
				stop()
				srv.leave()
				srv.drain(ctx)
				return errors.Join(err, workers.Wait())
			}
		case <-ctx.Done():
			in.hurry()
			err := workers.Wait()
			srv.leave()
			srv.drain(ctx)
			return err
		}
	}
}

// tell passes on an error that ends the gateway.
func tell(c chan<- error, err error) error {
	if err != nil {
		c <- err
	}
	return err
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
	if o.HandOverDrain == 0 {
		o.HandOverDrain = 5 * time.Minute
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Proxy.Log == nil {
		o.Proxy.Log = o.Log
	}
	return o
}

var errTaken = fmt.Errorf("%w: another gateway uses this directory", problem.ErrExists)
