// Package forward carries TCP connections from one place to another: from a
// session's own loopback to the host. Listeners may have been opened in any
// network namespace; dials are made in ours.
package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

// dialTimeout bounds how long the host's side of a forward may take.
const dialTimeout = 10 * time.Second

// maxConnections bounds those that one forward carries at a time. Others wait,
// so that one session cannot use up the descriptors of what it reaches.
const maxConnections = 256

// Forwards are the listeners and connections of one session.
type Forwards struct {
	log *slog.Logger
	wg  sync.WaitGroup

	mu     sync.Mutex
	closed bool
	open   map[io.Closer]bool
}

// New makes an empty set.
func New(log *slog.Logger) *Forwards {
	return &Forwards{log: log, open: map[io.Closer]bool{}}
}

// TCP accepts on l and carries each connection to addr, until Close.
func (f *Forwards) TCP(l net.Listener, addr string) {
	d := net.Dialer{Timeout: dialTimeout}
	f.TCPTo(l, func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) })
}

// TCPTo is like TCP for whatever dial connects to.
func (f *Forwards) TCPTo(l net.Listener, dial func(context.Context) (net.Conn, error)) {
	places := make(chan struct{}, maxConnections)
	f.Serve(l, func(ctx context.Context) {
		for {
			select {
			case places <- struct{}{}:
			case <-ctx.Done():
				return
			}
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // out of descriptors, most likely: others will close theirs
				f.log.Warn("accept forwarded connection", "on", l.Addr(), "error", err)
				select {
				case <-ctx.Done():
					return
				case <-time.After(50 * time.Millisecond):
				}
				<-places
				continue
			}
			f.wg.Go(func() {
				defer func() { <-places }()
				f.carry(ctx, c, dial)
			})
		}
	})
}

func (f *Forwards) carry(ctx context.Context, inside net.Conn, dial func(context.Context) (net.Conn, error)) {
	defer inside.Close()
	if !f.add(inside) {
		return
	}
	defer f.remove(inside)
	outside, err := dial(ctx)
	if err != nil {
		f.log.Debug("dial forwarded connection", "on", inside.LocalAddr(), "error", err)
		return
	}
	defer outside.Close()
	if !f.add(outside) {
		return
	}
	defer f.remove(outside)
	var wg sync.WaitGroup
	wg.Go(func() { pipe(outside, inside) })
	pipe(inside, outside)
	wg.Wait()
}

// pipe copies one direction and passes its end on.
func pipe(dst, src net.Conn) {
	if _, err := io.Copy(dst, src); err != nil {
		dst.Close()
		src.Close()
		return
	}
	if t, ok := dst.(*net.TCPConn); ok {
		_ = t.CloseWrite() // it may be closed already
	}
}

// Serve runs serve until Close, which first closes c and ends ctx. After Close
// it only closes c.
func (f *Forwards) Serve(c io.Closer, serve func(ctx context.Context)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		c.Close()
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	end := &ending{cancel}
	f.open[c], f.open[end] = true, true
	f.wg.Go(func() { // under the lock: Close is not waiting yet
		defer f.remove(end)
		defer f.remove(c)
		serve(ctx)
	})
}

// ending cancels a context when it is closed.
type ending struct{ cancel context.CancelFunc }

func (e *ending) Close() error {
	e.cancel()
	return nil
}

// add remembers what Close has to close. It says no when closing has begun,
// after closing c.
func (f *Forwards) add(c io.Closer) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		c.Close()
		return false
	}
	f.open[c] = true
	return true
}

func (f *Forwards) remove(c io.Closer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, c)
	c.Close()
}

// Close ends everything and waits for it.
func (f *Forwards) Close() {
	f.mu.Lock()
	f.closed = true
	for c := range f.open {
		c.Close()
	}
	f.mu.Unlock()
	f.wg.Wait()
}

// Loopback checks that addr is host:port with a loopback host, the only place
// inside where a forward may listen.
func Loopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("%s is not a loopback address", host)
	}
	return nil
}
