package actions

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// attempts is how often git asks the server; GitHub's own checkout does it
// three times, with longer pauses.
const attempts = 5

// serverWithin bounds the wait for a server that is away: jobs outlive it and
// it is back within seconds after a crash or an upgrade.
const serverWithin = time.Minute

// network runs a git command that asks the server, again when it failed.
func (g *git) network(ctx context.Context, run func() error) error {
	for n := 1; ; n++ {
		err := run()
		if err == nil || n == attempts || ctx.Err() != nil {
			return err
		}
		g.step.Printf("%v; waiting for the server before the next attempt", err)
		if !awaitServer(ctx, g.step.Job().ServerURL) {
			return err
		}
	}
}

// awaitServer waits a second and then until the server is ready; it returns
// false when it is not in time.
func awaitServer(ctx context.Context, base string) bool {
	ctx, cancel := context.WithTimeout(ctx, serverWithin)
	defer cancel()
	c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: dialLoopback}}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/readyz", nil)
		if err != nil {
			return false
		}
		res, err := c.Do(req)
		if err != nil {
			continue
		}
		res.Body.Close()
		if res.StatusCode == http.StatusOK || !local(base) {
			return true // the server of somebody else need not have our /readyz
		}
	}
}

// local says whether base is a Penstock on this machine.
func local(base string) bool {
	u, err := url.Parse(base)
	return err == nil && strings.HasSuffix(u.Hostname(), ".localhost")
}

// dialLoopback resolves names under .localhost, which most resolvers do not.
func dialLoopback(ctx context.Context, network, addr string) (net.Conn, error) {
	if host, port, err := net.SplitHostPort(addr); err == nil && strings.HasSuffix(host, ".localhost") {
		addr = net.JoinHostPort("127.0.0.1", port)
	}
	return new(net.Dialer).DialContext(ctx, network, addr)
}
