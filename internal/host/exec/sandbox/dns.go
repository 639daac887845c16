//go:build linux

package sandbox

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/penstock-dev/penstock/internal/host/exec/forward"
)

const (
	dnsTimeout   = 5 * time.Second
	dnsMaxPacket = 4096
	dnsInFlight  = 64 // queries of one session at a time
)

// The host's resolver is often on a loopback address (systemd-resolved, a VPN
// client) that does not exist inside a sandbox, so each session has a relay on
// its own loopback that asks the host's name servers from the host's network.
// It reads their list for each query: laptops change networks.

// dnsUDP answers queries that arrive on pc: local first, which returns nil for
// what it does not know.
func dnsUDP(f *forward.Forwards, pc net.PacketConn, local func(query []byte) []byte) {
	f.Serve(pc, func(ctx context.Context) {
		var wg sync.WaitGroup
		defer wg.Wait()
		slots := make(chan struct{}, dnsInFlight)
		for {
			buf := make([]byte, dnsMaxPacket)
			n, from, err := pc.ReadFrom(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue // an ICMP error for an earlier answer
			}
			select {
			case slots <- struct{}{}:
			default:
				continue // too many at once: the resolver asks again
			}
			wg.Go(func() {
				defer func() { <-slots }()
				answer := local(buf[:n])
				if answer == nil {
					answer = ask(ctx, buf[:n])
				}
				if answer != nil {
					_, _ = pc.WriteTo(answer, from) // best effort, as UDP is
				}
			})
		}
	})
}

// ask sends the query to one name server after the other.
func ask(ctx context.Context, query []byte) []byte {
	for _, server := range nameservers("/etc/resolv.conf") {
		if answer, err := askServer(ctx, server, query); err == nil {
			return answer
		}
	}
	return nil
}

func askServer(ctx context.Context, server string, query []byte) ([]byte, error) {
	d := net.Dialer{Timeout: dnsTimeout}
	c, err := d.DialContext(ctx, "udp", server)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if err := c.SetDeadline(time.Now().Add(dnsTimeout)); err != nil {
		return nil, err
	}
	if _, err := c.Write(query); err != nil {
		return nil, err
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return nil, err
		}
		if n >= 2 && len(query) >= 2 && binary.BigEndian.Uint16(buf) == binary.BigEndian.Uint16(query) {
			return buf[:n], nil
		}
	}
}

// dnsTCP relays connections on l to the first name server that answers.
func dnsTCP(f *forward.Forwards, l net.Listener) {
	f.TCPTo(l, func(ctx context.Context) (net.Conn, error) {
		var errs []error
		for _, server := range nameservers("/etc/resolv.conf") {
			d := net.Dialer{Timeout: dnsTimeout}
			c, err := d.DialContext(ctx, "tcp", server)
			if err == nil {
				return c, nil
			}
			errs = append(errs, err)
		}
		return nil, errors.Join(errs...)
	})
}

// nameservers reads a resolv.conf; without an entry the resolver is on
// loopback, as the C library has it.
func nameservers(path string) []string {
	f, err := os.Open(path)
	if err != nil {
		return []string{"127.0.0.1:53"}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return []string{"127.0.0.1:53"}
	}
	servers, _ := parseResolvConf(string(data))
	return servers
}

// parseResolvConf returns the name servers as host:port, and the lines that a
// sandbox takes over as they are.
func parseResolvConf(s string) (servers, keep []string) {
	for line := range strings.Lines(s) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if len(servers) < 3 {
				servers = append(servers, net.JoinHostPort(f[1], "53"))
			}
		case "search", "domain", "options":
			keep = append(keep, strings.Join(f, " "))
		}
	}
	if len(servers) == 0 {
		servers = []string{"127.0.0.1:53"}
	}
	return servers, keep
}
