//go:build linux

package exectest

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/host/exec"
)

// controlPorts are where a machine with Penstock, Kubernetes, a container
// engine or a database answers.
var controlPorts = map[string]int{
	"gateway": 7070, "server": 7080, "kube-apiserver": 6443, "kubelet": 10250, "kubelet read-only": 10255,
	"kube-proxy": 10256, "controller-manager": 10257, "scheduler": 10259, "etcd": 2379, "etcd peers": 2380,
	"docker": 2375, "ssh": 22, "dns": 53, "postgres": 5432, "buildkit": 1234, "metrics": 9090,
}

// addresses tests where a session's connections lead: out to the world, and
// nowhere on this machine but where it was let.
func addresses(t *testing.T, rt exec.Runtime) {
	m := OtherMachine(t)
	// Control ports, on an address of the host that is the test's alone.
	for name, port := range controlPorts {
		l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", m.Host, port))
		if err != nil {
			t.Fatal(err)
		}
		Serve(t, l, name)
	}
	// One more on all addresses of the host, and one on loopback.
	everywhere, err := net.Listen("tcp", "0.0.0.0:0") //nolint:gosec // all of them are what is tested
	if err != nil {
		t.Fatal(err)
	}
	Serve(t, everywhere, "the host")
	loopback, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	Serve(t, loopback, "the host's loopback")
	_, port, _ := net.SplitHostPort(everywhere.Addr().String())
	_, loopPort, _ := net.SplitHostPort(loopback.Addr().String())

	s := Networked(t, Open(t, rt, func(spec *exec.SessionSpec) {
		spec.Forward = map[string]string{"127.0.0.1:7080": loopback.Addr().String()}
		spec.Hosts = map[string]string{"penstock.localhost": "127.0.0.1", "elsewhere.example": m.Allowed}
	}))
	neighbour := Networked(t, Open(t, rt))
	inside, err := neighbour.Listen(t.Context(), "tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	Serve(t, inside, "a neighbour")
	neighbourAddr := strings.TrimSpace(Must(t, neighbour, "busybox ip -o -4 addr show eth0 | busybox awk '{print $4}' | busybox cut -d/ -f1"))
	_, neighbourPort, _ := net.SplitHostPort(inside.Addr().String())

	t.Run("reached", func(t *testing.T) {
		http := func(host, port string) string {
			out, _ := Sh(t, s, fmt.Sprintf(`printf 'GET / HTTP/1.0\r\n\r\n' | busybox timeout 20 busybox nc %s %s`, host, port))
			_, body, _ := strings.Cut(out, "\r\n\r\n")
			return body
		}
		for _, host := range []string{m.Allowed, "elsewhere.example"} {
			if got := http(host, "8000"); got != m.Host {
				t.Errorf("the other machine was asked at %s by %q, want %s", host, got, m.Host)
			}
		}
		for _, host := range []string{"127.0.0.1", "penstock.localhost"} {
			if got, _ := ask(t, s, host, "7080"); got != "the host's loopback" {
				t.Errorf("what is forwarded says %q at %s", got, host)
			}
		}
	})
	type place struct{ name, host, port string }
	places := []place{
		{"a denied network", m.Denied, "8000"}, {"a metadata service", m.Metadata, "8000"},
		{"the host's loopback", "127.0.0.1", loopPort}, {"the host's loopback", "localhost", loopPort},
		{"another session", neighbourAddr, neighbourPort},
		{"the host's side of the link", "10.216.0.1", port},
	}
	for name, p := range controlPorts {
		places = append(places, place{name, m.Host, fmt.Sprint(p)})
	}
	for _, a := range ownAddresses(t) {
		places = append(places, place{"the host", a, port})
	}
	for _, p := range places {
		// It is there: else its silence would show nothing.
		if !strings.Contains(p.name, "session") && p.host != "10.216.0.1" && p.host != "localhost" {
			c, err := net.DialTimeout("tcp", net.JoinHostPort(p.host, p.port), 10*time.Second)
			if err != nil {
				t.Errorf("%s does not even answer the host: %v", p.name, err)
				continue
			}
			c.Close()
		}
		start := time.Now()
		if got, ok := ask(t, s, p.host, p.port); ok {
			t.Errorf("%s answers at %s:%s: %q", p.name, p.host, p.port, got)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s is silent instead of refusing: %v", p.name, took)
		}
	}
}

// ownAddresses are the host's, except loopback's.
func ownAddresses(t *testing.T) []string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() && !strings.HasPrefix(n.IP.String(), "198.1") && !strings.HasPrefix(n.IP.String(), "10.216.") {
			out = append(out, n.IP.String())
		}
	}
	return out
}
