//go:build linux

package buildkit

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/moby/buildkit/util/resolver"
)

// patience is how long a push or pull waits for a registry of ours that does
// not listen: the server may be starting anew.
const patience = 30 * time.Second

// hosts says where images come from and go to: those of the registry's own
// names to and from it, and for others it is asked before their own registry.
// Credentials are those of who builds, not the node's: a Dockerfile is written
// by people with rights of their own.
func hosts(o Options) docker.RegistryHosts {
	rest := resolver.NewRegistryConfig(nil)
	if o.Registry == nil {
		return rest
	}
	// What is remembered about hosts is from the settings before.
	o.Registry.OnChange(resolver.DefaultPool.Clear)
	own := &http.Client{Transport: nearTransport(patience)}
	near := &http.Client{Transport: nearTransport(0)}
	return func(host string) ([]docker.RegistryHost, error) {
		s := o.Registry.Get()
		u, err := url.Parse(s.Endpoint)
		if err != nil || s.Endpoint == "" {
			return rest(host)
		}
		h := docker.RegistryHost{
			Client: own, Scheme: u.Scheme, Host: u.Host, Path: "/v2",
			Capabilities: docker.HostCapabilityPull | docker.HostCapabilityResolve | docker.HostCapabilityPush,
		}
		if slices.Contains(s.Names, host) {
			return []docker.RegistryHost{h}, nil
		}
		others, err := rest(host)
		if err != nil {
			return nil, err
		}
		h.Client, h.Capabilities = near, docker.HostCapabilityPull|docker.HostCapabilityResolve
		return append([]docker.RegistryHost{h}, others...), nil
	}
}

// nearTransport is for the registry on this machine.
func nearTransport(wait time.Duration) http.RoundTripper {
	d := &net.Dialer{Timeout: 5 * time.Second}
	return &http.Transport{
		MaxIdleConnsPerHost: 8,
		IdleConnTimeout:     30 * time.Second,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			deadline := time.Now().Add(wait)
			for {
				c, err := d.DialContext(ctx, network, addr)
				if err == nil || !errors.Is(err, syscall.ECONNREFUSED) || time.Now().After(deadline) {
					return c, err
				}
				select {
				case <-ctx.Done():
					return nil, ctx.Err()
				case <-time.After(100 * time.Millisecond):
				}
			}
		},
	}
}
