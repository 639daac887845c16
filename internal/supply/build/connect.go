package build

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/moby/buildkit/client"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// connection is a connection to the builder that knows whether it broke.
type connection struct {
	*client.Client
	broken, closed atomic.Bool
}

// gone says whether the other side ended the connection. It asks, because
// another connection to the same process may have shown its end first.
func (c *connection) gone(ctx context.Context) bool {
	if c.broken.Load() {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := c.Info(ctx)
	return err != nil && c.broken.Load()
}

func (c *connection) close() {
	c.closed.Store(true)
	_ = c.Client.Close() // what was asked for has been answered
}

// connect waits until the builder at socket answers. While it does not, notice
// says so, once.
func connect(ctx context.Context, socket string, wait time.Duration, notice func(string)) (*connection, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, wait, problem.ErrTimeout)
	defer cancel()
	pause := 20 * time.Millisecond
	for said := false; ; {
		c, err := tryConnect(ctx, socket)
		if err == nil {
			return c, nil
		}
		if !said {
			notice("waiting for the image builder")
			said = true
		}
		select {
		case <-ctx.Done():
			if !errors.Is(context.Cause(ctx), problem.ErrTimeout) {
				return nil, context.Cause(ctx)
			}
			return nil, &problem.Error{Op: "reach the image builder", Subject: socket, Code: problem.ExitTimeout, Err: fmt.Errorf("%w after %s: %w", problem.ErrTimeout, wait, err),
				Hint: "penstock status shows whether the node runs; penstock up starts it"}
		case <-time.After(pause):
			pause = min(2*pause, 500*time.Millisecond)
		}
	}
}

// tryConnect connects and asks the builder for its version.
func tryConnect(ctx context.Context, socket string) (_ *connection, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// A plain attempt first: its error says why, where gRPC would back off.
	probe, err := dial(ctx, socket)
	if err != nil {
		return nil, err
	}
	_ = probe.Close()
	c := &connection{}
	c.Client, err = client.New(ctx, "unix://"+socket, client.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		if c.broken.Load() {
			// No second connection: a build lives and ends with its first.
			return nil, errors.New("the connection to the image builder broke")
		}
		conn, err := dial(ctx, socket)
		if err != nil {
			return nil, err
		}
		return &watched{conn, c}, nil
	}))
	if err != nil {
		return nil, fmt.Errorf("connect to the image builder: %w", err)
	}
	if _, err := c.Info(ctx); err != nil {
		c.close()
		return nil, fmt.Errorf("ask the image builder: %w", err)
	}
	return c, nil
}

func dial(ctx context.Context, socket string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("connect to the image builder: %w", err)
	}
	return conn, nil
}

// watched notes when reading fails although we did not close.
type watched struct {
	net.Conn
	c *connection
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if err != nil && !w.c.closed.Load() {
		w.c.broken.Store(true)
	}
	return n, err
}
