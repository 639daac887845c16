//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// memoryWhileServing takes the memory of the server away until the kernel ends
// it. The one that is started in its place has all the memory again.
func (f *faults) memoryWhileServing(t *testing.T) {
	before, gateway, node, server := f.containers(t), f.PID(t, "gateway"), f.PID(t, "node"), f.PID(t, "server")
	g := newMemoryGroup(t)
	l := startLoad(t, f.Platform, 4)
	g.hold(t, server, 4<<20)
	// What it holds already is not charged to the group, so make it want more:
	// manifests of images are read into memory before they are understood.
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() { f.fatten(ctx) })
	}
	awaitGone(t, server)
	cancel()
	wg.Wait()
	if n := g.kills(t); n < 1 {
		t.Error("the server ended, but the kernel did not end it for want of memory")
	}
	f.awaitReady(t)
	l.done(t)
	f.sameContainers(t, before)
	if f.PID(t, "gateway") != gateway || f.PID(t, "node") != node {
		t.Error("the gateway or the node was restarted")
	}
	if f.PID(t, "server") == server {
		t.Error("the server was not restarted")
	}
	f.deploy(t, "after the server had no memory")
}

// fatten sends large manifests until ctx is done or the server is gone.
func (f *faults) fatten(ctx context.Context) {
	token, err := os.ReadFile(filepath.Join(f.DataDir, "admin.token"))
	if err != nil {
		return
	}
	junk := bytes.Repeat([]byte(" "), 4<<20-1)
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+f.Server+"/v2/faults/fat/manifests/x", bytes.NewReader(junk))
		if err != nil {
			return
		}
		req.SetBasicAuth("x", strings.TrimSpace(string(token)))
		req.Header.Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			if errors.Is(err, syscall.ECONNREFUSED) {
				return
			}
			continue
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20))
		res.Body.Close()
	}
}

// memoryGroup is a control group of the memory controller, of whichever version
// this machine has it in.
type memoryGroup struct {
	dir string
	v2  bool
}

// newMemoryGroup makes one beside everybody else's, and removes it at the end.
func newMemoryGroup(t *testing.T) *memoryGroup {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	g := &memoryGroup{}
	for line := range strings.Lines(string(mounts)) {
		left, right, _ := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if len(l) < 5 || len(r) < 3 {
			continue
		}
		switch {
		case r[0] == "cgroup" && strings.Contains(","+r[2]+",", ",memory,"):
			g.dir, g.v2 = l[4], false
		case r[0] == "cgroup2" && g.dir == "":
			if b, err := os.ReadFile(filepath.Join(l[4], "cgroup.controllers")); err == nil && strings.Contains(" "+strings.TrimSpace(string(b))+" ", " memory ") {
				g.dir, g.v2 = l[4], true
			}
		}
	}
	if g.dir == "" {
		t.Skip("this machine has no memory controller to run out of memory with")
	}
	if g.v2 {
		if err := os.WriteFile(filepath.Join(g.dir, "cgroup.subtree_control"), []byte("+memory"), 0); err != nil {
			t.Skipf("the memory controller cannot be used here: %v", err)
		}
	}
	g.dir = filepath.Join(g.dir, fmt.Sprintf("penstock-e2e-%d", os.Getpid()))
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		t.Skipf("no memory group can be made here: %v", err)
	}
	t.Cleanup(func() {
		Eventually(t, 30*time.Second, "the memory group is removed", func(context.Context) error { return os.Remove(g.dir) })
	})
	return g
}

// hold puts a process into the group and limits what more it may have.
func (g *memoryGroup) hold(t *testing.T, pid int, limit int64) {
	t.Helper()
	file := "memory.limit_in_bytes"
	if g.v2 {
		file = "memory.max"
		// No swapping instead of ending.
		if err := os.WriteFile(filepath.Join(g.dir, "memory.swap.max"), []byte("0"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	} else if err := os.WriteFile(filepath.Join(g.dir, "memory.swappiness"), []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	for _, w := range []struct{ file, value string }{{file, strconv.FormatInt(limit, 10)}, {"cgroup.procs", strconv.Itoa(pid)}} {
		if err := os.WriteFile(filepath.Join(g.dir, w.file), []byte(w.value), 0); err != nil {
			t.Fatal(err)
		}
	}
}

// kills is how many processes of the group the kernel has ended.
func (g *memoryGroup) kills(t *testing.T) (n int) {
	t.Helper()
	file := "memory.oom_control"
	if g.v2 {
		file = "memory.events"
	}
	b, err := os.ReadFile(filepath.Join(g.dir, file))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "oom_kill "); ok {
			if n, err = strconv.Atoi(strings.TrimSpace(v)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return n
}
