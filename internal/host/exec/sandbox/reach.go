//go:build linux

package sandbox

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netns"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Dial connects from inside the session. The address is a number, localhost,
// or a name of the session's private network.
func (s *session) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	addr, err := s.numeric(addr)
	if err != nil {
		return nil, err
	}
	var c net.Conn
	err = s.inside(func() error {
		// The address is a number, so this makes its socket on this very
		// thread.
		c, err = new(net.Dialer).DialContext(ctx, network, addr)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("dial %s inside the session: %w", addr, err)
	}
	return c, nil
}

// Listen listens inside the session.
func (s *session) Listen(ctx context.Context, network, addr string) (net.Listener, error) {
	addr, err := s.numeric(addr)
	if err != nil {
		return nil, err
	}
	var l net.Listener
	err = s.inside(func() error {
		l, err = new(net.ListenConfig).Listen(ctx, network, addr)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen on %s inside the session: %w", addr, err)
	}
	// Closed with the session, whatever its owner does.
	s.forwards.Serve(l, func(ctx context.Context) { <-ctx.Done() })
	return l, nil
}

// inside runs f on a thread in the session's network.
func (s *session) inside(f func() error) error {
	s.mu.Lock()
	lost := s.lost
	s.mu.Unlock()
	if lost {
		return errGone
	}
	ns, err := netns.GetFromPid(s.pid)
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer ns.Close()
	return inNetwork(ns, f)
}

// numeric replaces the name in an address.
func (s *session) numeric(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("%w: address %q: %w", problem.ErrInvalid, addr, err)
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return addr, nil
	}
	if host == "localhost" {
		return net.JoinHostPort("127.0.0.1", port), nil
	}
	if s.peers != nil {
		if a, ok := s.peers.lookup(host); ok {
			return net.JoinHostPort(a.String(), port), nil
		}
	}
	return "", fmt.Errorf("%w: %q is no address and no name of the session's network", problem.ErrNotFound, host)
}
