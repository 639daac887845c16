//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/bench/app"
	"github.com/penstock-dev/penstock/internal/base/failpoint"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/face/client"
)

// work is what brings the server to a durable write. It prepares what it needs
// from a server that lives, and returns what is done while one dies and what is
// then to be found, on the next one.
type work func(t *testing.T, point string) (do, check func(t *testing.T))

// death says how the points that begin with a prefix are reached, or which
// tests kill at them because a server does not get there by a request.
type death struct {
	prefix, elsewhere string
	work              work
}

func (d *dying) deaths() []death {
	return []death{
		{"git.record.", "", d.push},
		{"store.commit.", "", d.push},
		{"ci.runs.created.", "", d.push},
		{"ci.job.", "", d.push},
		{"ci.journal.", "", d.push},
		{"ci.seal.", "", d.push},
		{"blob.put.", "", d.push},
		{"git.create.", "", d.createRepo},
		{"git.delete.", "", d.deleteRepo},
		{"registry.upload.", "", d.pushImage},
		{"registry.content.", "", d.pushImage},
		{"registry.blob.link.", "", d.pushImage},
		{"registry.manifest.delete.", "", d.deleteManifest},
		{"registry.manifest.", "", d.pushImage},
		{"registry.tag.delete.", "", d.deleteTag},
		{"registry.tag.", "", d.pushImage},
		{"registry.referrer.", "", d.pushReferrer},
		{"registry.blob.delete.", "", d.deleteBlob},
		{"gitops.", "", d.sync},
		{"ci.runner.", "TestRunnerDies of internal/ci/runs: a runner is a process of its own, and its job fails with it", nil},
		{"registry.collect.", "TestAKilledServerKeepsWhatItAcknowledged of internal/host/registry/storage: collected is by the clock", nil},
		{"secret.", "TestRotatorDies of internal/host/secret: no request of this test seals anything", nil},
	}
}

// short are the points that are tried when there is little time: one for each
// kind of work.
var short = []string{"git.record.after", "ci.job.spawn.after", "registry.manifest.before", "gitops.operation.end.before"}

// diesAtWrites arms each of the server's failpoints in turn and works with the
// server through its death and the start of the next one.
func (f *faults) diesAtWrites(t *testing.T) {
	d := newDying(t, f)
	b, err := os.ReadFile("../../internal/base/failpoint/points.tsv")
	if err != nil {
		t.Fatal(err)
	}
	deaths := d.deaths()
	for line := range strings.Lines(string(b)) {
		point, _, _ := strings.Cut(line, "\t")
		i := slices.IndexFunc(deaths, func(x death) bool { return strings.HasPrefix(point, x.prefix) })
		if i < 0 {
			t.Errorf("nothing brings the server to %s", point)
			continue
		}
		if deaths[i].work == nil {
			t.Logf("%s: %s", point, deaths[i].elsewhere)
			continue
		}
		if testing.Short() && !slices.Contains(short, point) {
			continue
		}
		if !t.Run(point, func(t *testing.T) { d.at(t, point, deaths[i].work) }) {
			break // what follows would only repeat it
		}
	}
	d.end(t)
	if !t.Failed() {
		d.ledger.once(t)
		d.loggedOnce(t)
	}
}

// dying is a platform whose server is started by the test instead of by up.
type dying struct {
	*faults
	args   []string // of the server
	ledger *ledgered
	conf   string // working tree of the manifests of the Application deaths

	mu     sync.Mutex
	server *exec.Cmd
	n      int
}

func newDying(t *testing.T, f *faults) *dying {
	t.Helper()
	d := &dying{faults: f, args: f.args(t, "server"), ledger: f.newLedger(t), conf: t.TempDir()}
	f.Run(t, "repo", "create", "faults/deaths")
	d.writeConfig(t, "begin")
	f.begin(t, d.conf, "faults/deaths")
	f.Git(t, d.conf, "push", "-q", "origin", "main")
	f.kubectlApply(t, strings.NewReplacer(app.Manifests, "faults/deaths", app.Name, "deaths").Replace(app.Application))
	f.inHistoryOnce(t, "deaths", f.Git(t, d.conf, "rev-parse", "HEAD"))
	f.endUp(t)
	t.Cleanup(func() { d.stop(t) })
	d.start(t, "")
	return d
}

// start starts a server that dies at point.
func (d *dying) start(t *testing.T, point string) *exec.Cmd {
	log, err := os.OpenFile(filepath.Join(d.DataDir, "run", "server.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer log.Close()
	c := exec.Command(d.args[0], d.args[1:]...)
	c.Env = append(os.Environ(), failpoint.Env+"="+point)
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		t.Error(err)
		return nil
	}
	d.mu.Lock()
	d.server = c
	d.mu.Unlock()
	return c
}

// stop kills the server, whichever it is.
func (d *dying) stop(t *testing.T) {
	d.mu.Lock()
	c := d.server
	d.server = nil
	d.mu.Unlock()
	if c == nil {
		return
	}
	if err := c.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	_ = c.Wait() // it says that it was killed
}

// end gives the server back to up.
func (d *dying) end(t *testing.T) {
	t.Helper()
	d.stop(t)
	d.Up(t)
	d.awaitReady(t)
}

// at does the work on a server that dies at point and on its successor.
func (d *dying) at(t *testing.T, point string, w work) {
	d.n++
	do, check := w(t, point)
	d.stop(t)
	armed := d.start(t, point)
	if armed == nil {
		return
	}
	died := make(chan error, 1)
	go func() {
		died <- armed.Wait()
		d.start(t, "")
		close(died)
	}()
	t.Cleanup(func() { // where it is not reached, the next one starts all the same
		armed.Process.Kill()
		for range died { //nolint:revive // until it is closed
		}
	})
	do(t)
	select {
	case err := <-died:
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("the server ended with %v, not at the point", err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("the server did not come to the point")
	}
	for range died { //nolint:revive // until the next one has started
	}
	check(t)
}

// push pushes a commit whose workflow has one effect.
func (d *dying) push(t *testing.T, point string) (do, check func(*testing.T)) {
	sha := d.ledger.commit(t, point)
	return d.ledger.push, func(t *testing.T) {
		if n := d.ledger.over(t)[sha]; n != 1 {
			t.Errorf("%s has %d runs", sha, n)
		}
		if tip, _, _ := strings.Cut(d.Git(t, d.ledger.src, "ls-remote", "origin", "refs/heads/main"), "\t"); tip != sha {
			t.Errorf("the branch is at %s, want %s", tip, sha)
		}
	}
}

// loggedOnce wants one event for each push and each end of a run.
func (d *dying) loggedOnce(t *testing.T) {
	t.Helper()
	pushes, ends := map[string]int{}, map[string]int{}
	for next := ""; ; {
		var page struct {
			Items []struct {
				Type string
				Data struct {
					Repo, Commit string
					Updates      []struct{ After string }
				}
			}
			Next string
		}
		d.api(t, &page, "/api/v1/events?limit=500&project=faults"+next)
		for _, e := range page.Items {
			switch {
			case e.Data.Repo != "faults/source":
			case strings.Contains(e.Type, "push.received"):
				for _, u := range e.Data.Updates {
					pushes[u.After]++
				}
			case strings.Contains(e.Type, "pipelinerun.finished"):
				ends[e.Data.Commit]++
			}
		}
		if page.Next == "" {
			break
		}
		next = "&cursor=" + page.Next
	}
	for _, sha := range d.ledger.tips {
		if pushes[sha] != 1 || ends[sha] != 1 {
			t.Errorf("commit %s has %d events of its push and %d of the end of its run, want one of each", sha, pushes[sha], ends[sha])
		}
	}
	if len(pushes) != len(d.ledger.tips) || len(ends) != len(d.ledger.tips) {
		t.Errorf("events of %d pushes and %d ends of runs, want %d", len(pushes), len(ends), len(d.ledger.tips))
	}
}

func (d *dying) client(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.New("http://penstock.localhost:7080", d.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ask sends a request until it succeeds or fails with the error that one gets
// who asks for what has been done already.
func (d *dying) ask(t *testing.T, method, path string, in any, done error) {
	t.Helper()
	c := d.client(t)
	Eventually(t, 2*time.Minute, method+" "+path, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		if err := c.Do(ctx, method, path, in, nil); err != nil && !errors.Is(err, done) {
			return err
		}
		return nil
	})
}

// listed counts the repositories of a name.
func (d *dying) listed(t *testing.T, name string) (n int) {
	t.Helper()
	var page struct{ Items []struct{ Name string } }
	d.api(t, &page, "/api/v1/repos?limit=500")
	for _, r := range page.Items {
		if r.Name == name {
			n++
		}
	}
	return n
}

func (d *dying) createRepo(_ *testing.T, _ string) (do, check func(*testing.T)) {
	name := fmt.Sprintf("faults/created-%d", d.n)
	return func(t *testing.T) {
			d.ask(t, http.MethodPost, "/api/v1/repos", map[string]string{"name": name}, problem.ErrExists)
		}, func(t *testing.T) {
			if n := d.listed(t, name); n != 1 {
				t.Errorf("%s is listed %d times", name, n)
			}
			d.Git(t, d.conf, "push", "-q", "http://penstock.localhost:7080/git/"+name+".git", "HEAD:refs/heads/main")
		}
}

func (d *dying) deleteRepo(t *testing.T, _ string) (do, check func(*testing.T)) {
	name := fmt.Sprintf("faults/deleted-%d", d.n)
	d.ask(t, http.MethodPost, "/api/v1/repos", map[string]string{"name": name}, problem.ErrExists)
	d.Git(t, d.conf, "push", "-q", "http://penstock.localhost:7080/git/"+name+".git", "HEAD:refs/heads/main")
	return func(t *testing.T) { d.ask(t, http.MethodDelete, "/api/v1/repos/"+name, nil, problem.ErrNotFound) },
		func(t *testing.T) {
			if n := d.listed(t, name); n != 0 {
				t.Errorf("%s is listed %d times", name, n)
			}
			if _, err := os.Stat(filepath.Join(d.DataDir, "git", name+".git")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("what was deleted is there: %v", err)
			}
		}
}

func (d *dying) writeConfig(t *testing.T, value string) {
	t.Helper()
	var objects strings.Builder
	for i := range 5 {
		fmt.Fprintf(&objects, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: deaths-%d}\ndata: {value: %q}\n", i, value)
	}
	write(t, d.conf, "objects.yaml", objects.String())
}

// sync pushes manifests that an Application applies by itself.
func (d *dying) sync(t *testing.T, point string) (do, check func(*testing.T)) {
	d.writeConfig(t, point)
	d.Git(t, d.conf, "commit", "-q", "-a", "-m", point)
	sha := d.Git(t, d.conf, "rev-parse", "HEAD")
	return func(t *testing.T) {
			Eventually(t, 2*time.Minute, "push of the manifests", func(context.Context) error {
				out, err := d.TryGit(d.conf, "push", "-q", "origin", "main")
				if err != nil {
					return fmt.Errorf("%w: %s", err, out)
				}
				return nil
			})
		}, func(t *testing.T) {
			d.inHistoryOnce(t, "deaths", sha)
			var list struct {
				Items []struct{ Data map[string]string }
			}
			d.get(t, &list, "/api/v1/namespaces/deaths/configmaps")
			n := 0
			for _, c := range list.Items {
				if c.Data["value"] == point {
					n++
				}
			}
			if n != 5 {
				t.Errorf("%d of 5 objects are as in the commit", n)
			}
		}
}
