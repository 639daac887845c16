//go:build linux

package buildkit

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"

	"github.com/penstock-dev/penstock/node/internal/registry"
)

func TestHosts(t *testing.T) {
	c, err := registry.Load(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	find := hosts(Options{Registry: c})
	look := func(name string) []docker.RegistryHost {
		t.Helper()
		list, err := find(name)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	if l := look("docker.io"); len(l) != 1 || l[0].Host != "registry-1.docker.io" {
		t.Errorf("without a registry of ours: %+v", l)
	}
	s := registry.Settings{Names: []string{"penstock.localhost:7080"}, Endpoint: "http://127.0.0.1:7080", Token: "secret"}
	if err := c.Set(s); err != nil {
		t.Fatal(err)
	}
	own := look("penstock.localhost:7080")
	if len(own) != 1 || own[0].Scheme != "http" || own[0].Host != "127.0.0.1:7080" || !own[0].Capabilities.Has(docker.HostCapabilityPush) {
		t.Errorf("our own: %+v", own)
	}
	others := look("docker.io")
	if len(others) != 2 || others[0].Host != "127.0.0.1:7080" || others[0].Capabilities.Has(docker.HostCapabilityPush) || others[1].Host != "registry-1.docker.io" {
		t.Errorf("others: %+v", others)
	}
	for _, h := range append(own, others...) {
		if h.Header.Get("Authorization") != "" {
			t.Error("a build gets the node's credentials")
		}
	}
}

// TestARegistryThatStartsAnewIsWaitedFor dials a socket that nobody listens on
// yet.
func TestARegistryThatStartsAnewIsWaitedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listen := func() *net.UnixListener {
		t.Helper()
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		return l
	}
	listen().Close() // leaves the socket, which refuses now
	dial := func(wait time.Duration) error {
		c, err := nearTransport(wait).(*http.Transport).DialContext(context.Background(), "unix", path)
		if err == nil {
			c.Close()
		}
		return err
	}
	if err := dial(0); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("nobody listens: %v", err)
	}
	dialled := make(chan error, 1)
	go func() { dialled <- dial(time.Minute) }()
	select {
	case err := <-dialled:
		t.Fatalf("did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	// A new socket takes the place of the old one at once.
	next, err := net.ListenUnix("unix", &net.UnixAddr{Name: path + "2", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if err := os.Rename(path+"2", path); err != nil {
		t.Fatal(err)
	}
	if err := <-dialled; err != nil {
		t.Error(err)
	}
}
