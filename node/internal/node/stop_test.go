package node

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/node/internal/fault"
	"github.com/penstock-dev/penstock/node/internal/layout"
)

func TestMountsBelow(t *testing.T) {
	const info = `22 1 254:0 / / rw - ext4 /dev/vda rw
30 22 0:50 / /d/node/kubelet/pods/u/volumes/x rw - tmpfs tmpfs rw
31 22 0:51 / /d/node/run/containerd/io.containerd.runtime.v2.task/k8s.io/c/rootfs rw - overlay overlay rw
32 31 0:52 / /d/node/a\040b rw - tmpfs tmpfs rw
33 22 0:53 / /d/node2/x rw - tmpfs tmpfs rw
34 22 0:54 / /d/node rw - tmpfs tmpfs rw
`
	want := []string{"/d/node/a b", "/d/node/run/containerd/io.containerd.runtime.v2.task/k8s.io/c/rootfs", "/d/node/kubelet/pods/u/volumes/x"}
	if got := mountsBelow(info, "/d/node"); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestIsShim(t *testing.T) {
	const socket = "/d/node/run/containerd.sock"
	for args, want := range map[string]bool{
		"/usr/bin/containerd-shim-runc-v2 -namespace k8s.io -id x -address " + socket:            true,
		"/usr/bin/containerd-shim-runc-v2 -namespace k8s.io -id x -address /run/containerd.sock": false,
		"/usr/bin/containerd-shim-runc-v2 -address":                                              false,
		"vim -address " + socket: false,
	} {
		if got := isShim(strings.Fields(args), socket); got != want {
			t.Errorf("%s: %t", args, got)
		}
	}
}

func TestGraceOf(t *testing.T) {
	for in, want := range map[string]int64{"": 10, "0": 0, "3": 3, "30": 10, "-1": 10, "x": 10} {
		if got := graceOf(map[string]string{"io.kubernetes.pod.terminationGracePeriod": in}); got != want {
			t.Errorf("%q: %d, want %d", in, got, want)
		}
	}
}

func TestCheck(t *testing.T) {
	if _, err := Defaults().check(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	for name, change := range map[string]func(*Config){
		"node name": func(c *Config) { c.Name = "Not_a_label" },
		"domain":    func(c *Config) { c.Domain = "cluster..local" },
		"port":      func(c *Config) { c.APIServerPort = 70000 },
		"free port": func(c *Config) { c.APIServerPort = 0 },
		"pods":      func(c *Config) { c.MaxPods = 0 },
		"range":     func(c *Config) { c.PodCIDR = "x" },
	} {
		c := Defaults()
		change(&c)
		if _, err := c.check(); !errors.Is(err, fault.ErrUsage) {
			t.Errorf("%s: got %v, want a usage error", name, err)
		}
	}
	c := Defaults()
	c.APIOnly, c.APIServerPort = true, 0
	if _, err := c.check(); err != nil {
		t.Errorf("a control plane on a free port: %v", err)
	}
}

// TestStopUsesWhatWasStarted: the stop takes away what the start made, whatever
// its own flags are.
func TestSavedConfig(t *testing.T) {
	d := layout.Dir(t.TempDir())
	c := Defaults()
	c.Bridge, c.PodCIDR, c.BuilderBridge = "other0", "10.1.0.0/16", "otherbuild0"
	if err := c.save(d); err != nil {
		t.Fatal(err)
	}
	started := Defaults()
	started.DataDir = "/now"
	got, err := started.saved(d)
	if err != nil {
		t.Fatal(err)
	}
	if got.Bridge != "other0" || got.PodCIDR != "10.1.0.0/16" || got.BuilderBridge != "otherbuild0" || got.DataDir != "/now" {
		t.Errorf("got %+v", got)
	}
	if err := os.WriteFile(d.Path(configFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := started.saved(d); err == nil {
		t.Error("a broken file was accepted")
	}
}

func TestStopOfNothing(t *testing.T) {
	c := Defaults()
	c.Log = slog.New(slog.DiscardHandler)
	c.DataDir = filepath.Join(t.TempDir(), "none")
	if err := Stop(t.Context(), c, true); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(c.DataDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the stop made the directory: %v", err)
	}
}
