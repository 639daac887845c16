//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/bench/app"
)

// TestE2EKill ends each process with SIGKILL while an application serves and
// while work is under way. The tests of one platform run in this order; each
// leaves it working.
func TestE2EKill(t *testing.T) {
	if testing.Short() {
		t.Skip("the long faults belong to make e2e")
	}
	p := NewPlatform(t)
	p.Up(t)
	f := newFaults(t, p)
	f.deploy(t, "version 1")

	t.Run("server while serving", f.serverWhileServing)
	t.Run("supervisor while serving", f.supervisorWhileServing)
	t.Run("node while serving", f.nodeWhileServing)
	t.Run("containerd while serving", f.containerdWhileServing)
	t.Run("gateway while the node is away", f.gatewayWithoutNode)
	t.Run("server during pushes", f.serverDuringPushes)
	t.Run("server during a build", f.serverDuringBuild)
	t.Run("node during a build", f.nodeDuringBuild)
	t.Run("server during a sync", f.serverDuringSync)
	t.Run("node during a sync", f.nodeDuringSync)
}

// faults is a platform with the application of package app on it.
type faults struct {
	*Platform
	src, conf string
}

func newFaults(t *testing.T, p *Platform) *faults {
	t.Helper()
	f := &faults{Platform: p, src: t.TempDir(), conf: t.TempDir()}
	for _, repo := range []string{app.Source, app.Manifests} {
		p.Run(t, "repo", "create", repo)
	}
	if err := errors.Join(app.WriteSource(f.src, "version 0"), app.WriteManifests(f.conf)); err != nil {
		t.Fatal(err)
	}
	for dir, repo := range map[string]string{f.src: app.Source, f.conf: app.Manifests} {
		f.begin(t, dir, repo)
	}
	f.Git(t, f.conf, "push", "-q", "origin", "main")
	f.kubectlApply(t, app.Application)
	return f
}

// begin makes dir a working tree of repo with everything committed.
func (f *faults) begin(t *testing.T, dir, repo string) {
	t.Helper()
	f.Git(t, dir, "init", "-q", "-b", "main")
	f.Git(t, dir, "remote", "add", "origin", "http://penstock.localhost:7080/git/"+repo+".git")
	f.Git(t, dir, "add", "-A")
	f.Git(t, dir, "commit", "-q", "-m", "begin")
}

// deploy pushes a page and waits until the gateway answers with it.
func (f *faults) deploy(t *testing.T, page string) (sha string) {
	t.Helper()
	if err := app.SetPage(f.src, page); err != nil {
		t.Fatal(err)
	}
	f.Git(t, f.src, "commit", "-q", "-a", "-m", page)
	f.Git(t, f.src, "push", "-q", "origin", "main")
	f.awaitPage(t, page)
	f.settle(t)
	return f.Git(t, f.src, "rev-parse", "HEAD")
}

// settle waits until the rollout is over: as many Pods as wanted, all ready.
func (f *faults) settle(t *testing.T) {
	t.Helper()
	Eventually(t, 2*time.Minute, "the rollout is over", func(context.Context) error {
		var d struct {
			Metadata struct{ Generation int64 }
			Spec     struct{ Replicas int }
			Status   struct {
				ObservedGeneration                       int64
				Replicas, UpdatedReplicas, ReadyReplicas int
			}
		}
		var pods struct{ Items []struct{} }
		f.get(t, &d, "/apis/apps/v1/namespaces/"+app.Namespace+"/deployments/app")
		f.get(t, &pods, "/api/v1/namespaces/"+app.Namespace+"/pods")
		n, s := d.Spec.Replicas, d.Status
		if s.ObservedGeneration != d.Metadata.Generation || s.Replicas != n || s.UpdatedReplicas != n || s.ReadyReplicas != n || len(pods.Items) != n {
			return fmt.Errorf("%+v, %d Pods", d, len(pods.Items))
		}
		return nil
	})
}

func (f *faults) awaitPage(t *testing.T, page string) {
	t.Helper()
	Eventually(t, 2*time.Minute, "the gateway answers "+page, func(ctx context.Context) error {
		code, body, err := f.Get(ctx, app.Host, "/")
		if err != nil || code != 200 || strings.TrimSpace(body) != page {
			return fmt.Errorf("%d %q %v", code, body, err)
		}
		return nil
	})
}

// awaitReady waits until every process is ready again.
func (f *faults) awaitReady(t *testing.T) {
	t.Helper()
	Eventually(t, 90*time.Second, "everything ready", func(context.Context) error {
		var st struct {
			Ready     bool
			Processes []struct{ Name, State, Detail string }
		}
		out, err := f.Try(20*time.Second, "status", "-o", "json")
		if jerr := json.Unmarshal([]byte(out), &st); jerr != nil {
			return errors.Join(err, jerr)
		}
		if !st.Ready {
			return fmt.Errorf("%+v", st.Processes)
		}
		return nil
	})
}

// kill sends SIGKILL and waits until the process is gone.
func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("kill %d: %v", pid, err)
	}
	awaitGone(t, pid)
}

// awaitGone waits until a process is no more.
func awaitGone(t *testing.T, pid int) {
	t.Helper()
	Eventually(t, time.Minute, fmt.Sprintf("process %d is gone", pid), func(context.Context) error {
		if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
			if _, rest, _ := strings.Cut(string(stat), ") "); !strings.HasPrefix(rest, "Z") {
				return errors.New("it still runs")
			}
		}
		return nil
	})
}

// containers maps each container of the application to its id, start and
// restarts.
func (f *faults) containers(t *testing.T) map[string]string {
	t.Helper()
	var pods struct {
		Items []struct {
			Metadata struct{ Name, UID string }
			Status   struct {
				ContainerStatuses []struct {
					ContainerID  string
					RestartCount int
					State        struct {
						Running struct{ StartedAt string }
					}
				}
			}
		}
	}
	f.get(t, &pods, "/api/v1/namespaces/"+app.Namespace+"/pods")
	out := map[string]string{}
	for _, pod := range pods.Items {
		for _, c := range pod.Status.ContainerStatuses {
			out[pod.Metadata.Name] = fmt.Sprintf("%s restarts=%d started=%s", c.ContainerID, c.RestartCount, c.State.Running.StartedAt)
		}
	}
	if len(out) == 0 {
		t.Fatal("the application has no containers")
	}
	return out
}

func (f *faults) sameContainers(t *testing.T, before map[string]string) {
	t.Helper()
	if after := f.containers(t); !maps.Equal(before, after) {
		t.Errorf("containers were\n%v\nand are\n%v", before, after)
	}
}

func (f *faults) serverWhileServing(t *testing.T) {
	before, gateway, node := f.containers(t), f.PID(t, "gateway"), f.PID(t, "node")
	l := startLoad(t, f.Platform, 4)
	kill(t, f.PID(t, "server"))
	time.Sleep(2 * time.Second) // the time without a server is what is tested
	f.awaitReady(t)
	l.done(t)
	f.sameContainers(t, before)
	if f.PID(t, "gateway") != gateway || f.PID(t, "node") != node {
		t.Error("the gateway or the node was restarted")
	}
	f.deploy(t, "after the server's death")
}

func (f *faults) supervisorWhileServing(t *testing.T) {
	before, pids := f.containers(t), map[string]int{}
	for _, name := range []string{"gateway", "node"} {
		pids[name] = f.PID(t, name)
	}
	l := startLoad(t, f.Platform, 4)
	kill(t, f.PID(t, "up"))
	time.Sleep(2 * time.Second)
	f.Up(t)
	f.awaitReady(t)
	l.done(t)
	f.sameContainers(t, before)
	for name, pid := range pids {
		if now := f.PID(t, name); now != pid {
			t.Errorf("%s was restarted: pid %d, then %d", name, pid, now)
		}
	}
	f.deploy(t, "after the supervisor's death")
}

func (f *faults) nodeWhileServing(t *testing.T) {
	before, gateway, containerd := f.containers(t), f.PID(t, "gateway"), f.containerdPID(t)
	l := startLoad(t, f.Platform, 4)
	node := f.PID(t, "node")
	kill(t, node)
	f.awaitReady(t)
	time.Sleep(5 * time.Second) // what the restarted kubelet finds out about old Pods
	l.done(t)
	f.sameContainers(t, before)
	if f.PID(t, "node") == node {
		t.Error("the node was not restarted")
	}
	if f.PID(t, "gateway") != gateway {
		t.Error("the gateway was restarted")
	}
	if now := f.containerdPID(t); now != containerd {
		t.Errorf("containerd was restarted: pid %d, then %d", containerd, now)
	}
	f.deploy(t, "after the node's death")
}

func (f *faults) containerdWhileServing(t *testing.T) {
	before := f.containers(t)
	l := startLoad(t, f.Platform, 4)
	old := f.containerdPID(t)
	kill(t, old)
	Eventually(t, time.Minute, "another containerd", func(context.Context) error {
		pid, err := f.findContainerd()
		if err == nil && pid == old {
			err = errors.New("none yet")
		}
		return err
	})
	f.awaitReady(t)
	time.Sleep(5 * time.Second)
	l.done(t)
	f.sameContainers(t, before)
	f.deploy(t, "after containerd's death")
}

// gatewayWithoutNode kills the gateway when there is no API server to ask: the
// next one begins with the routes on the disk.
func (f *faults) gatewayWithoutNode(t *testing.T) {
	before := f.containers(t)
	time.Sleep(time.Second) // the latest routes are on the disk after a fifth of one
	// Nothing starts the node again as long as the supervisor is away, and the
	// gateway is started by hand.
	for _, name := range []string{"up", "node", "gateway"} {
		kill(t, f.PID(t, name))
	}
	c := f.Cmd(context.Background(), "gateway")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill() }) // only where the test gives up
	began := time.Now()
	Eventually(t, 10*time.Second, "the gateway answers", func(ctx context.Context) error {
		code, body, err := f.Get(ctx, app.Host, "/")
		if err != nil || code != 200 {
			return fmt.Errorf("%d %q %v", code, body, err)
		}
		return nil
	})
	t.Logf("answers %v after its start, without an API server", time.Since(began).Round(time.Millisecond))
	l := startLoad(t, f.Platform, 4)
	time.Sleep(time.Second)
	l.done(t)
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("the gateway's end: %v", err)
	}
	f.Up(t)
	f.awaitReady(t)
	f.sameContainers(t, before)
	f.deploy(t, "after the gateway's death")
}

func (f *faults) containerdPID(t *testing.T) int {
	t.Helper()
	pid, err := f.findContainerd()
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// findContainerd finds the one of this platform: its configuration is in the
// data directory.
func (f *faults) findContainerd() (int, error) {
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	for _, file := range all {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		args := strings.Split(string(b), "\x00")
		if filepath.Base(args[0]) == "containerd" && strings.Contains(string(b), f.DataDir) {
			return strconv.Atoi(filepath.Base(filepath.Dir(file)))
		}
	}
	return 0, errors.New("containerd does not run")
}

// ciRun is what the tests read of a run.
type ciRun struct {
	ID                          int64
	SHA                         string `json:"commit"`
	Status, Conclusion, Message string
	Jobs                        []struct {
		Key   string
		Steps []struct{ Name, Status, Conclusion string }
	}
}

func (f *faults) runs(t *testing.T, repo string) []ciRun {
	t.Helper()
	var list struct{ Items []ciRun }
	f.api(t, &list, "/api/v1/runs?limit=100&repo="+repo)
	return list.Items
}

// slowBuild makes the image's build take some seconds, so that a kill hits it.
func (f *faults) slowBuild(t *testing.T, page string, seconds int) (sha string) {
	t.Helper()
	file := filepath.Join(f.src, "Dockerfile")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	plain := string(b)
	slow := strings.Replace(plain, "COPY www /www\n", fmt.Sprintf("COPY www /www\nRUN [\"/busybox\", \"sleep\", \"%d\"]\n", seconds), 1)
	if slow == plain {
		t.Fatalf("the Dockerfile is not what the test expects:\n%s", plain)
	}
	if err := errors.Join(os.WriteFile(file, []byte(slow), 0o644), app.SetPage(f.src, page)); err != nil {
		t.Fatal(err)
	}
	f.Git(t, f.src, "commit", "-q", "-a", "-m", page)
	f.Git(t, f.src, "push", "-q", "origin", "main")
	if err := os.WriteFile(file, []byte(plain), 0o644); err != nil {
		t.Fatal(err)
	}
	return f.Git(t, f.src, "rev-parse", "HEAD")
}

// duringBuild waits until the run of the commit is in its build step.
func (f *faults) duringBuild(t *testing.T, sha string) int64 {
	t.Helper()
	var id int64
	Eventually(t, time.Minute, "the build step runs", func(context.Context) error {
		for _, r := range f.runs(t, app.Source) {
			if r.SHA != sha {
				continue
			}
			id = r.ID
			f.api(t, &r, fmt.Sprint("/api/v1/runs/", r.ID))
			for _, j := range r.Jobs {
				for _, s := range j.Steps {
					if strings.Contains(s.Name, "build-push-action") && s.Status == "in_progress" {
						return nil
					}
				}
			}
			return fmt.Errorf("%+v", r)
		}
		return errors.New("no run yet")
	})
	time.Sleep(time.Second) // into the RUN of the Dockerfile
	return id
}

// oneSuccess wants that the commit has one run, that it succeeded, and that
// one commit of it is in the manifests.
func (f *faults) oneSuccess(t *testing.T, sha string) {
	t.Helper()
	Eventually(t, time.Minute, "the run is over", func(context.Context) error {
		var mine []ciRun
		for _, r := range f.runs(t, app.Source) {
			if r.SHA == sha {
				mine = append(mine, r)
			}
		}
		if len(mine) != 1 || mine[0].Conclusion != "success" {
			return fmt.Errorf("runs of %s: %+v", sha, mine)
		}
		return nil
	})
	f.Git(t, f.conf, "pull", "-q", "--rebase", "origin", "main")
	if n := strings.Count(f.Git(t, f.conf, "log", "--format=%s"), "run "+sha); n != 1 {
		t.Errorf("the manifests have %d commits of the run, want 1", n)
	}
}

func (f *faults) serverDuringBuild(t *testing.T) {
	l := startLoad(t, f.Platform, 2)
	sha := f.slowBuild(t, "built while the server died", 4)
	id := f.duringBuild(t, sha)
	kill(t, f.PID(t, "server"))
	f.awaitReady(t)
	f.awaitPage(t, "built while the server died")
	f.oneSuccess(t, sha)
	logs := f.Run(t, "ci", "logs", fmt.Sprint(id))
	if strings.Count(logs, "the first line\n") < 1 || !strings.Contains(logs, "sleep") {
		t.Errorf("the log is not complete:\n%s", logs)
	}
	l.done(t)
}

func (f *faults) nodeDuringBuild(t *testing.T) {
	l := startLoad(t, f.Platform, 2)
	sha := f.slowBuild(t, "built while the node died", 5)
	f.duringBuild(t, sha)
	kill(t, f.PID(t, "node"))
	f.awaitReady(t)
	f.awaitPage(t, "built while the node died")
	f.oneSuccess(t, sha)
	l.done(t)
}

// bulk is how many objects a sync has to apply, so that a kill hits it.
const bulk = 150

// pushBulk adds many ConfigMaps to the manifests and returns the commit when
// the first of them is in the cluster.
func (f *faults) pushBulk(t *testing.T, value string) (sha string) {
	t.Helper()
	f.Git(t, f.conf, "pull", "-q", "--rebase", "origin", "main")
	var objects strings.Builder
	for i := range bulk {
		fmt.Fprintf(&objects, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: bulk-%d}\ndata: {value: %q}\n", i, value)
	}
	if err := os.WriteFile(filepath.Join(f.conf, "bulk.yaml"), []byte(objects.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(f.conf, "kustomization.yaml")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	with := strings.Replace(string(b), "[app.yaml]", "[app.yaml, bulk.yaml]", 1)
	if err := os.WriteFile(file, []byte(with), 0o644); err != nil {
		t.Fatal(err)
	}
	f.Git(t, f.conf, "add", "-A")
	f.Git(t, f.conf, "commit", "-q", "-m", "bulk "+value)
	f.Git(t, f.conf, "push", "-q", "origin", "main")
	Eventually(t, 30*time.Second, "the sync has begun", func(context.Context) error {
		if n := f.bulkWith(t, value); n == 0 {
			return errors.New("no object yet")
		}
		return nil
	})
	return f.Git(t, f.conf, "rev-parse", "HEAD")
}

// bulkWith counts the ConfigMaps that have the value.
func (f *faults) bulkWith(t *testing.T, value string) (n int) {
	t.Helper()
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Data     map[string]string
		}
	}
	f.get(t, &list, "/api/v1/namespaces/"+app.Namespace+"/configmaps")
	for _, c := range list.Items {
		if strings.HasPrefix(c.Metadata.Name, "bulk-") && c.Data["value"] == value {
			n++
		}
	}
	return n
}

// syncedOnce waits until the commit is applied in full and wants it in the
// history once.
func (f *faults) syncedOnce(t *testing.T, sha, value string) {
	t.Helper()
	f.inHistoryOnce(t, app.Name, sha)
	if n := f.bulkWith(t, value); n != bulk {
		t.Errorf("%d of %d objects are as in the commit", n, bulk)
	}
}

// inHistoryOnce waits until an Application is synced to the commit and wants it
// in the history once.
func (f *faults) inHistoryOnce(t *testing.T, name, sha string) {
	t.Helper()
	var a struct {
		Status struct {
			Sync           struct{ Status, Revision string }
			OperationState struct{ Phase, Message string }
			History        []struct {
				ID       int64
				Revision string
			}
		}
	}
	Eventually(t, 2*time.Minute, "the Application is synced", func(context.Context) error {
		f.get(t, &a, "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/"+name)
		s := a.Status
		if s.Sync.Status != "Synced" || s.Sync.Revision != sha || s.OperationState.Phase != "Succeeded" {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	times := 0
	var ids []int64
	for _, h := range a.Status.History {
		ids = append(ids, h.ID)
		if h.Revision == sha {
			times++
		}
	}
	slices.Sort(ids)
	if times != 1 || len(slices.Compact(ids)) != len(a.Status.History) {
		t.Errorf("the history has the commit %d times, want once: %+v", times, a.Status.History)
	}
}

func (f *faults) serverDuringSync(t *testing.T) {
	l := startLoad(t, f.Platform, 2)
	sha := f.pushBulk(t, "server")
	kill(t, f.PID(t, "server"))
	t.Logf("killed with %d of %d objects applied", f.bulkWith(t, "server"), bulk)
	f.awaitReady(t)
	f.syncedOnce(t, sha, "server")
	l.done(t)
}

func (f *faults) nodeDuringSync(t *testing.T) {
	l := startLoad(t, f.Platform, 2)
	sha := f.pushBulk(t, "node")
	kill(t, f.PID(t, "node"))
	f.awaitReady(t)
	f.syncedOnce(t, sha, "node")
	l.done(t)
}

// TestE2EDiskFull fills the disk under a running platform. Pods go on serving,
// what cannot be stored is refused with the reason, and all works again when
// there is room.
func TestE2EDiskFull(t *testing.T) {
	if testing.Short() {
		t.Skip("the long faults belong to make e2e")
	}
	p := NewPlatform(t)
	if err := syscall.Mount("tmpfs", p.DataDir, "tmpfs", 0, "size=2300m,mode=700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			p.showLogs(t) // they are gone with the mount
		}
		if out, err := p.Try(3*time.Minute, "down"); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
		if err := syscall.Unmount(p.DataDir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	p.Up(t)
	f := newFaults(t, p)
	f.deploy(t, "version 1")
	l := startLoad(t, p, 4)

	ballast := filepath.Join(p.DataDir, "ballast")
	if out, err := exec.Command("dd", "if=/dev/zero", "of="+ballast, "bs=1M").CombinedOutput(); err == nil || !strings.Contains(string(out), "No space left") {
		t.Fatalf("the disk did not fill up: %v %s", err, out)
	}
	if err := app.SetPage(f.src, "version 2"); err != nil {
		t.Fatal(err)
	}
	f.Git(t, f.src, "commit", "-q", "-a", "-m", "version 2")
	out, err := f.TryGit(f.src, "push", "-q", "origin", "main")
	if err == nil {
		t.Error("a push was accepted onto a full disk")
	}
	if !strings.Contains(strings.ToLower(out), "no space left") {
		t.Errorf("the push does not say why it failed:\n%s", out)
	}
	time.Sleep(3 * time.Second)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	f.awaitReady(t)
	f.Git(t, f.src, "push", "-q", "origin", "main")
	f.awaitPage(t, "version 2")
	f.oneSuccess(t, f.Git(t, f.src, "rev-parse", "HEAD"))
	l.done(t)
}
