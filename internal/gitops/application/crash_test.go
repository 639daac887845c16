package application_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/base/failpoint"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/gitops/application"
)

// childEnv makes this binary a controller of its own that a test kills.
const childEnv = "GITOPS_TEST_CHILD"

type childOptions struct{ Kubeconfig, Dir, Namespace, Root, URL, Self string }

func child(options string) error {
	var o childOptions
	if err := json.Unmarshal([]byte(options), &o); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	fmt.Println("started") // from here on a signal ends it in order
	c, err := application.New(application.Options{
		Kubeconfig: o.Kubeconfig, Dir: o.Dir, Namespace: o.Namespace,
		Host:          bare{root: o.Root, url: o.URL},
		RenderProgram: []string{o.Self, "render-worker"},
	})
	if err != nil {
		return err
	}
	return c.Run(ctx)
}

// bare reads repositories that the server of another process owns.
type bare struct{ root, url string }

func (b bare) Hosted(url string) (string, bool) {
	repo, ok := strings.CutPrefix(url, b.url)
	return strings.TrimSuffix(repo, ".git"), ok
}

func (b bare) git(ctx context.Context, repo string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"--git-dir", filepath.Join(b.root, repo+".git")}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*")
	return cmd.Output()
}

func (b bare) Resolve(ctx context.Context, repo, rev string) (string, error) {
	out, err := b.git(ctx, repo, "rev-parse", "--verify", rev+"^{commit}")
	if err != nil {
		return "", fmt.Errorf("revision %s of %s: %w", rev, repo, problem.ErrNotFound)
	}
	return strings.TrimSpace(string(out)), nil
}

func (b bare) Export(ctx context.Context, repo, commit, dst string) error {
	out, err := b.git(ctx, repo, "archive", "--format=tar", commit)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "tar", "-x", "-C", dst)
	cmd.Stdin = strings.NewReader(string(out))
	return cmd.Run()
}

// start starts a controller process, armed with a failpoint or "".
func (w *world) start(point string) *exec.Cmd {
	w.t.Helper()
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	o, err := json.Marshal(childOptions{Kubeconfig: w.kube, Dir: filepath.Join(w.dir, "gitops"), Namespace: w.ns, Root: filepath.Join(w.dir, "git"), URL: w.url, Self: self})
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"="+string(o), failpoint.Env+"="+point)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "started\n" {
		w.t.Fatalf("the controller says %q: %v", line, err)
	}
	return cmd
}

// Killed before and after every durable write, a sync ends once: one entry in
// the history, every object written, none twice.
func TestKilledSyncEndsOnce(t *testing.T) {
	for _, point := range []string{
		"gitops.operation.begin.before", "gitops.operation.begin.after",
		"gitops.sync.wave.before", "gitops.sync.wave.after",
		"gitops.sync.wave.before:2", "gitops.sync.wave.after:2",
		"gitops.operation.end.before", "gitops.operation.end.after",
	} {
		name := strings.NewReplacer("gitops.", "", ".", "-", ":", "-").Replace(point)
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			commit := w.push("o/killed", configMap("first", "1")+`
-- app/d.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: d, annotations: {argocd.argoproj.io/sync-wave: '1'}}
spec:
  replicas: 0
  selector: {matchLabels: {a: b}}
  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: x}]}}
`)
			ns := "killed-" + name
			w.installKinds()
			// Controllers share the cluster: an Application's name says what is its own.
			app := "killed-" + name
			w.application(app, automated("o/killed", "app", ns))
			armed := w.start(point)
			ended := make(chan error, 1)
			go func() { ended <- armed.Wait() }()
			select {
			case err := <-ended:
				if err == nil || !strings.Contains(err.Error(), "killed") {
					t.Fatalf("the controller ended by itself: %v", err)
				}
			case <-time.After(40 * time.Second):
				_ = armed.Process.Kill()
				t.Fatalf("the controller never came to %s", point)
			}
			before := w.app(app).Status.OperationState

			plain := w.start("")
			defer func() {
				_ = plain.Process.Signal(syscall.SIGTERM)
				if err := plain.Wait(); err != nil {
					t.Errorf("the second controller ended: %v", err)
				}
			}()
			a := w.becomes(app, commit, "Synced", "Healthy")
			if before != nil && !a.Status.OperationState.StartedAt.Equal(&before.StartedAt) {
				t.Errorf("the operation of %s was begun again at %s", before.StartedAt, a.Status.OperationState.StartedAt)
			}
			if len(a.Status.History) != 1 || a.Status.History[0].ID != 0 || a.Status.History[0].Revision != commit {
				t.Errorf("history = %+v", a.Status.History)
			}
			if n := len(a.Status.OperationState.SyncResult.Resources); n != 2 {
				t.Errorf("the result has %d objects, want 2", n)
			}
			if w.data(ns, "first", "v") != "1" {
				t.Error("the object of the first wave is missing")
			}
			d := w.get(deployments, ns, "d")
			if d == nil {
				t.Fatal("the object of the second wave is missing")
			}
			if g, _, _ := unstructured.NestedInt64(d.Object, "metadata", "generation"); g != 1 {
				t.Errorf("the Deployment has generation %d: it was changed after it was made", g)
			}
		})
	}
}

// installKinds lets a controller install the kinds, so that Applications can be
// written before the controller under test starts.
func (w *world) installKinds() {
	w.t.Helper()
	if w.get(crds, "", "applications."+v1alpha1.Group) != nil && w.get(namespaces, "", w.ns) != nil {
		return
	}
	w.control()()
}
