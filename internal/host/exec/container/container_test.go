//go:build linux

package container_test

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"

	"github.com/penstock-dev/penstock/internal/host/exec/container"
	"github.com/penstock-dev/penstock/internal/host/exec/exectest"
	"github.com/penstock-dev/penstock/internal/host/exec/sandbox"
	"github.com/penstock-dev/penstock/internal/host/image"
	"github.com/penstock-dev/penstock/internal/host/image/imagetest"
	"github.com/penstock-dev/penstock/internal/host/image/unpack"
)

// newRuntimes makes a runtime of the test's own, and the sandboxes below it.
func newRuntimes(t *testing.T, change ...func(*sandbox.Options)) (*container.Runtime, *sandbox.Runtime) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("containers need root")
	}
	img := imagetest.NeedBusybox(t)
	dir, err := os.MkdirTemp("/var/tmp", "penstock-container-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	o := sandbox.Options{
		Dir: filepath.Join(dir, "sandboxes"),
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, c := range change {
		c(&o)
	}
	boxes, err := sandbox.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := boxes.Sweep(context.Background()); err != nil {
			t.Errorf("sweep: %v", err)
		}
		if err := boxes.Close(); err != nil {
			t.Errorf("close runtime: %v", err)
		}
	})
	store, err := image.NewStore(filepath.Join(dir, "images"), &image.Sources{Log: o.Log}, unpack.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	r, err := container.New(boxes, store, imagetest.Layout(t, img))
	if info, ok := debug.ReadBuildInfo(); ok && err != nil {
		for _, s := range info.Settings {
			if s.Key == "CGO_ENABLED" && s.Value == "1" {
				t.Skipf("this test was built with cgo: %v", err)
			}
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return r, boxes
}

func TestConformance(t *testing.T) {
	r, _ := newRuntimes(t)
	exectest.Run(t, r)
}

func TestIsolation(t *testing.T) {
	r, _ := newRuntimes(t, func(o *sandbox.Options) { o.Deny = []netip.Prefix{exectest.Denied} })
	exectest.Isolated(t, r)
}

func TestSecrets(t *testing.T) {
	r, _ := newRuntimes(t)
	exectest.Secrets(t, r)
}
