//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestE2EHosts is about what lasts: a platform that starts on the data of an
// earlier version, whose server is killed, replaced by another version and
// ended by the kernel for want of memory while the gateway serves, and dies at
// its durable writes. Nothing is lost, nothing is there twice, and no secret is
// where it should not be. The tests run in this order on one platform.
func TestE2EHosts(t *testing.T) {
	p := NewPlatform(t)
	p.earlier(t)
	p.Up(t)
	t.Run("data of an earlier version", p.listsTheEarlier)
	f := newFaults(t, p)
	f.deploy(t, "version 1")

	t.Run("server killed while serving", f.serverWhileServing)
	t.Run("another version while serving", f.upgradeWhileServing)
	t.Run("server out of memory while serving", f.memoryWhileServing)
	before := f.state(t)
	t.Run("server dies at its writes", f.diesAtWrites)
	t.Run("no secret leaks", f.secretsStay)
	t.Run("state is kept", func(t *testing.T) {
		after := f.state(t)
		for what, list := range before {
			for key, was := range list {
				if d := cmp.Diff(was, after[what][key]); d != "" {
					t.Errorf("%s %s (-before +after):\n%s", what, key, d)
				}
			}
		}
	})
}

// state is what the server lists, by kind and key. Nothing of it may be lost
// or change later on.
func (f *faults) state(t *testing.T) map[string]map[string]any {
	t.Helper()
	out := map[string]map[string]any{"repository": {}, "run": {}, "event": {}}
	for what, key := range map[string]string{"repository": "name", "run": "id", "event": "id"} {
		path := map[string]string{"repository": "/api/v1/repos", "run": "/api/v1/runs", "event": "/api/v1/events"}[what]
		for token := ""; ; {
			var page struct {
				Items []map[string]any `json:"items"`
				Next  string           `json:"next"`
			}
			f.api(t, &page, path+"?limit=100"+token)
			for _, item := range page.Items {
				if what == "run" && item["status"] != "completed" {
					continue // it is still allowed to change
				}
				id := fmt.Sprint(item[key])
				if what == "repository" { // its size and time of the last push are not for ever
					item = map[string]any{key: item[key], "id": item["id"]}
				}
				if _, twice := out[what][id]; twice {
					t.Errorf("%s %s is listed twice", what, id)
				}
				out[what][id] = item
			}
			if page.Next == "" {
				break
			}
			token = "&cursor=" + page.Next
		}
		if len(out[what]) == 0 {
			t.Errorf("no %s is listed", what)
		}
	}
	return out
}

// upgradeWhileServing starts up from another copy of the program: what a new
// version does. The gateway hands its sockets to its successor, the server is
// replaced, node and Pods stay.
func (f *faults) upgradeWhileServing(t *testing.T) {
	before, node, gateway := f.containers(t), f.PID(t, "node"), f.PID(t, "gateway")
	next := t.TempDir()
	for _, name := range []string{"penstock", "penstock-node"} {
		if out, err := exec.Command("cp", filepath.Join(f.Bin, name), filepath.Join(next, name)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	l := startLoad(t, f.Platform, 4)
	f.endUp(t)
	old := f.Bin
	f.Bin = next
	f.Up(t)
	f.awaitReady(t)
	f.deploy(t, "another version")
	for _, name := range []string{"gateway", "server"} {
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", f.PID(t, name))); err != nil || filepath.Dir(exe) != next {
			t.Errorf("the %s is %s, %v", name, exe, err)
		}
	}
	if f.PID(t, "gateway") == gateway {
		t.Error("the gateway did not change")
	}
	// And back, as one does with a version that is no good.
	f.endUp(t)
	f.Bin = old
	f.Up(t)
	f.awaitReady(t)
	l.done(t)
	if now := f.PID(t, "node"); now != node {
		t.Errorf("the node was restarted: pid %d, then %d", node, now)
	}
	if len(before) != len(f.containers(t)) {
		t.Error("the number of containers changed")
	}
}

// endUp ends the supervisor as Ctrl-C does, and with it the server.
func (p *Platform) endUp(t *testing.T) {
	t.Helper()
	up, server := p.PID(t, "up"), p.PID(t, "server")
	if err := syscall.Kill(up, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{up, server} {
		awaitGone(t, pid)
	}
}

// args are those of a process that the supervisor started.
func (p *Platform) args(t *testing.T, name string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(p.DataDir, "run", name+".pid"))
	if err != nil {
		t.Fatal(err)
	}
	var rec struct {
		Args []string `json:"args"`
	}
	if err := json.Unmarshal(b, &rec); err != nil || len(rec.Args) < 2 {
		t.Fatalf("record of %s: %v %s", name, err, b)
	}
	return rec.Args
}

// earlier puts what an earlier version left into the data directory: its store
// and the repositories that are named in it.
func (p *Platform) earlier(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob("../../internal/app/testdata/store/*.sqlite.gz")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stores of earlier versions: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	unpack := exec.CommandContext(ctx, "gzip", "-dc", files[len(files)-1])
	to, err := os.OpenFile(filepath.Join(p.DataDir, "store.sqlite"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	unpack.Stdout = to
	if err := unpack.Run(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"manifests", "shop"} {
		if out, err := exec.CommandContext(ctx, "git", "init", "-q", "--bare", "-b", "main", filepath.Join(p.DataDir, "git", "demo", name+".git")).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
}

// listsTheEarlier looks for what the earlier version knew, on the command line.
func (p *Platform) listsTheEarlier(t *testing.T) {
	var repos []struct{ Name string }
	p.JSON(t, &repos, "repo", "list")
	names := map[string]bool{}
	for _, r := range repos {
		names[r.Name] = true
	}
	if !names["demo/shop"] || !names["demo/manifests"] || len(repos) != 2 {
		t.Errorf("repositories: %+v", repos)
	}
	var runs []ciRun
	p.JSON(t, &runs, "ci", "list")
	for _, r := range runs {
		if r.ID == 2 && r.Conclusion == "success" {
			return
		}
	}
	t.Errorf("the run of the earlier version is not there: %+v", runs)
}
