package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/penstock-dev/penstock/internal/base/filelock"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/podnet"
)

// listen opens the gateway's port.
func listen(ctx context.Context, addr string) (*net.TCPListener, error) {
	const op = "listen on"
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	switch {
	case err == nil:
	case errors.Is(err, errInUse):
		return nil, &problem.Error{Op: op, Subject: addr, Err: errors.New("another program has the port"),
			Hint: "`ss -ltnp` shows which; stop it, or choose another port with --listen"}
	case errors.Is(err, errNoAccess):
		return nil, &problem.Error{Op: op, Subject: addr, Err: errors.New("not allowed to use this port"), Code: problem.ExitAuth,
			Hint: "ports below 1024 need root; choose another with --listen"}
	case errors.Is(err, errNotOurs):
		return nil, &problem.Error{Op: op, Subject: addr, Err: errors.New("this machine does not have the address"),
			Hint: "choose an address of this machine with --listen"}
	default:
		return nil, &problem.Error{Op: op, Subject: addr, Err: err, Hint: "--listen takes host:port, as in 127.0.0.1:7070"}
	}
	return ln.(*net.TCPListener), nil
}

// listenForPods opens the further address, nil if there is none. It is not
// handed over: a successor listens beside us.
func listenForPods(ctx context.Context, o Options) (net.Listener, error) {
	if o.PodListen == "" || podnet.Covers(o.Listen, o.PodListen) {
		return nil, nil
	}
	l, err := podnet.Listen(ctx, o.PodListen)
	if err != nil {
		return nil, err
	}
	return limit(l, o.MaxConnections), nil
}

// limit lets ln accept so many connections at a time.
func limit(ln net.Listener, connections int) *limited {
	return &limited{Listener: ln, slots: make(chan struct{}, connections), closed: make(chan struct{})}
}

// limited accepts a connection only when there is a slot for it.
type limited struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &slotConn{TCPConn: c.(*net.TCPConn), free: sync.OnceFunc(func() { <-l.slots })}, nil
}

func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// slotConn gives its slot back when it is closed. The methods of TCPConn stay
// visible: half-closing is part of some upgraded protocols.
type slotConn struct {
	*net.TCPConn
	free func()
}

func (c *slotConn) Close() error {
	defer c.free()
	return c.TCPConn.Close()
}

// lockDir keeps two gateways from writing the same files.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open gateway lock: %w", err)
	}
	if err := filelock.Try(f, filelock.Exclusive); err != nil {
		f.Close()
		return nil, &problem.Error{Op: "start the gateway in", Subject: dir, Err: errTaken,
			Hint: "it is running already; `penstock status` shows it"}
	}
	return f, nil
}
