package cluster_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/cluster"
	"github.com/penstock-dev/penstock/internal/host/cluster/clustertest"
)

// ownAddress is one of this machine's that a Service may lead to.
func ownAddress(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	t.Skip("this machine has no address but loopback's, to which no Service can lead")
	return ""
}

func read(t *testing.T, d *cluster.Dialer, addr string) (string, error) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	data, err := io.ReadAll(io.LimitReader(c, 100))
	return string(data), err
}

// TestDial finds the Services that Penstock makes of itself in a real cluster.
func TestDial(t *testing.T) {
	host := ownAddress(t)
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "hello")
			c.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())

	none := (*cluster.Cluster)(nil).Dialer(cluster.DialOptions{Localhost: host})
	if got, err := read(t, none, "anything.localhost:"+port); err != nil || got != "hello" {
		t.Errorf("a name of this machine: %q, %v", got, err)
	}
	if _, err := read(t, none, "a.b.svc:80"); !errors.Is(err, problem.ErrNotFound) {
		t.Errorf("a cluster's name without a cluster: %v", err)
	}

	cp, err := clustertest.Start()
	if errors.Is(err, clustertest.ErrNoProgram) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cp.Stop() })
	config, err := cluster.Config(cp.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	c, err := cluster.New(config)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := cluster.Names(l.Addr().String(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // once more changes nothing
		for _, o := range objects {
			if _, err := c.Apply(t.Context(), o, cluster.ApplyOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	d := c.Dialer(cluster.DialOptions{PodNetwork: true})
	for _, addr := range []string{"penstock.penstock.svc:80", "git.penstock.svc.cluster.local:80", "registry.penstock:80", "gateway.penstock.svc:" + port} {
		if got, err := read(t, d, addr); err != nil || got != "hello" {
			t.Errorf("%s: %q, %v", addr, got, err)
		}
	}
	if got, err := read(t, d, l.Addr().String()); err != nil || got != "hello" {
		t.Errorf("an address: %q, %v", got, err)
	}
	for addr, want := range map[string]string{
		"penstock.penstock.svc:81": "no port 81", "nobody.penstock.svc:80": "not found", "penstock.penstock.svc": "missing port", "penstock.penstock.svc:http": "port",
	} {
		if _, err := read(t, d, addr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", addr, err, want)
		}
	}
	// From elsewhere, what is no Pod cannot be reached, and that is said.
	if _, err := read(t, c.Dialer(cluster.DialOptions{}), "penstock.penstock.svc:80"); err == nil || !strings.Contains(err.Error(), "no Pod") {
		t.Errorf("from outside the cluster's network: %v", err)
	}
}
