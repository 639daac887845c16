//go:build linux

package sandbox_test

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/penstock-dev/penstock/internal/host/exec/exectest"
	"github.com/penstock-dev/penstock/internal/host/exec/sandbox"
)

// newRuntime makes a runtime of the test's own. Without root there are no
// sandboxes, which Check says; continuous integration runs as root.
func newRuntime(t *testing.T, change ...func(*sandbox.Options)) *sandbox.Runtime {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("sandboxes need root")
	}
	dir, err := os.MkdirTemp("/var/tmp", "penstock-sandbox-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	o := sandbox.Options{
		Dir: filepath.Join(dir, `odd,name:with\all of it`),
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, c := range change {
		c(&o)
	}
	r, err := sandbox.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := r.Sweep(context.Background()); err != nil {
			t.Errorf("sweep: %v", err)
		}
		if err := r.Close(); err != nil {
			t.Errorf("close runtime: %v", err)
		}
	})
	return r
}

func TestConformance(t *testing.T) { exectest.Run(t, newRuntime(t)) }

func TestIsolation(t *testing.T) { exectest.Isolated(t, newRuntime(t, denying)) }

func TestSecrets(t *testing.T) { exectest.Secrets(t, newRuntime(t)) }

// denying makes the runtime refuse what the tests' other machine has for that.
func denying(o *sandbox.Options) { o.Deny = []netip.Prefix{exectest.Denied} }
