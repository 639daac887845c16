package application_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/base/bus"
	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/gitops/application"
	"github.com/penstock-dev/penstock/internal/gitops/render"
	"github.com/penstock-dev/penstock/internal/gitops/source"
	"github.com/penstock-dev/penstock/internal/host/cluster"
	"github.com/penstock-dev/penstock/internal/host/cluster/clustertest"
	"github.com/penstock-dev/penstock/internal/host/git"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// controlPlane is started by the first test that needs it.
var controlPlane = sync.OnceValues(clustertest.Start)

func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 1 && os.Args[1] == "render-worker":
		c := render.WorkerCommand()
		c.SetArgs(os.Args[2:])
		if err := c.Execute(); err != nil {
			os.Exit(3)
		}
		return
	case os.Getenv(childEnv) != "":
		if err := child(os.Getenv(childEnv)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		return
	}
	code := m.Run()
	if started {
		if p, err := controlPlane(); err == nil {
			_ = p.Stop()
		}
	}
	if left := leftBehind(); code == 0 && len(left) > 0 {
		fmt.Fprintf(os.Stderr, "controllers left goroutines behind:\n%s\n", strings.Join(left, "\n\n"))
		code = 1
	}
	os.Exit(code)
}

var started bool

// leftBehind returns the goroutines of our rooms that run after every test has
// ended. Those that client-go keeps for ever for its certificates do not count.
func leftBehind() []string {
	buf := make([]byte, 4<<20)
	var left []string
	for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(g, "penstock/internal/gitops/") && !strings.Contains(g, "TestMain(") {
			left = append(left, g)
		}
	}
	return left
}

// world is a Git host and a cluster with a controller between them.
type world struct {
	t       testing.TB
	cluster *cluster.Cluster
	gitURL  string // of the /git/ tree, with credentials
	url     string // the same, without
	dir     string
	repos   *git.Server
	host    source.Host // what the controller sees of repos
	pushes  *bus.Topic[event.Push]
	ns      string // of the Applications, one per test
	kube    string
	db      *store.DB
}

// Record puts an event into the log, as the server does.
func (w *world) Record(ctx context.Context, id, typ, subject string, at time.Time, data any) error {
	return w.db.Write(ctx, func(tx store.Tx) error {
		_, err := store.Append(ctx, tx, id, typ, subject, at, data)
		return err
	})
}

type everybody struct{}

func (everybody) AuthorizeGit(*http.Request, string, bool) (string, error) { return "ann", nil }

// newWorld makes a world without a controller.
func newWorld(t testing.TB) *world {
	t.Helper()
	p, err := controlPlane()
	if errors.Is(err, clustertest.ErrNoProgram) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	started = true
	config, err := cluster.Config(p.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	c, err := cluster.New(config)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	db, err := store.Open(t.Context(), filepath.Join(dir, "store.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	w := &world{t: t, cluster: c, dir: dir, pushes: &bus.Topic[event.Push]{}, kube: p.Kubeconfig, db: db}
	w.ns = "argocd-" + strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(strings.TrimPrefix(strings.TrimPrefix(t.Name(), "Test"), "Benchmark")))
	w.ns = w.ns[:min(len(w.ns), 60)]
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	w.url = srv.URL + "/git/"
	w.gitURL = strings.Replace(w.url, "http://", "http://ann:x@", 1)
	w.repos, err = git.New(t.Context(), git.Options{Root: filepath.Join(dir, "git"), DB: db, Access: everybody{}, Pushes: w.pushes, URLs: []string{w.url}})
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle("/git/", w.repos)
	w.host = w.repos
	return w
}

// control runs a controller until the returned function is called.
func (w *world) control() (stop func()) {
	w.t.Helper()
	sub := w.pushes.Subscribe(64)
	level := slog.LevelWarn
	if testing.Verbose() {
		level = slog.LevelInfo
	}
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := application.New(application.Options{
		Kubeconfig: w.kube, Dir: filepath.Join(w.dir, "gitops"), Host: w.host, Pushes: sub.C, Namespace: w.ns, Events: w,
		RenderProgram: []string{self, "render-worker"},
		Log:           slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: level})),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				w.t.Errorf("controller: %v", err)
			}
		case <-time.After(20 * time.Second):
			w.t.Error("the controller does not stop")
		}
		sub.Close()
	})
	w.t.Cleanup(stop)
	w.eventually("the controller is ready", 30*time.Second, c.Ready)
	return stop
}

// push makes the repository hold the files of a txtar archive, and nothing
// else, in one commit on main.
func (w *world) push(repo, archive string) (commit string) {
	w.t.Helper()
	if _, err := w.repos.Get(w.t.Context(), repo); err != nil {
		if _, err := w.repos.Create(w.t.Context(), repo); err != nil {
			w.t.Fatal(err)
		}
	}
	dir := filepath.Join(w.dir, "clone", repo)
	if _, err := os.Stat(dir); err != nil {
		w.git("", "init", "-q", "-b", "main", dir)
		w.git(dir, "remote", "add", "origin", w.gitURL+repo+".git")
	}
	names, err := filepath.Glob(filepath.Join(dir, "[^.]*"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, n := range names {
		if err := os.RemoveAll(n); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, f := range txtar.Parse([]byte(archive)).Files {
		p := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(p, f.Data, 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
	w.git(dir, "add", "-A")
	w.git(dir, "-c", "user.name=ann", "-c", "user.email=ann@example.com", "commit", "-q", "--allow-empty", "-m", "change")
	w.git(dir, "push", "-q", "origin", "main")
	return strings.TrimSpace(w.git(dir, "rev-parse", "HEAD"))
}

func (w *world) git(dir string, args ...string) string {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_TERMINAL_PROMPT=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// apply writes an object in YAML; REPO stands for the URL of the Git tree.
func (w *world) apply(manifest string) {
	w.t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(strings.ReplaceAll(manifest, "REPO/", w.url)), &u.Object); err != nil {
		w.t.Fatal(err)
	}
	client, err := w.cluster.Client(u)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := client.Apply(w.t.Context(), u.GetName(), u, metav1.ApplyOptions{FieldManager: "test", Force: true}); err != nil {
		w.t.Fatal(err)
	}
}

// application writes an Application called name; spec is the rest of it.
func (w *world) application(name, spec string) {
	w.t.Helper()
	w.apply(fmt.Sprintf("apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: %s, namespace: %s}\nspec:\n  project: default\n%s", name, w.ns, spec))
}

// app reads an Application.
func (w *world) app(name string) *v1alpha1.Application {
	w.t.Helper()
	u, err := w.cluster.Dynamic.Resource(v1alpha1.Applications).Namespace(w.ns).Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	a, _, err := v1alpha1.DecodeApplication(u)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

var (
	configMaps  = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	namespaces  = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	crds        = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	deployments = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
)

// get reads an object; nil when there is none.
func (w *world) get(gvr schema.GroupVersionResource, ns, name string) *unstructured.Unstructured {
	u, err := w.cluster.Dynamic.Resource(gvr).Namespace(ns).Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return u
}

// data reads one value of a ConfigMap; "" when there is none.
func (w *world) data(ns, name, key string) string {
	u := w.get(configMaps, ns, name)
	if u == nil {
		return ""
	}
	s, _, _ := unstructured.NestedString(u.Object, "data", key)
	return s
}

// patch sends a merge patch to an object.
func (w *world) patch(gvr schema.GroupVersionResource, ns, name, patch string) {
	w.t.Helper()
	if _, err := w.cluster.Dynamic.Resource(gvr).Namespace(ns).Patch(w.t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "test"}); err != nil {
		w.t.Fatal(err)
	}
}

// eventually waits until check has no objection and says how long that took.
func (w *world) eventually(what string, within time.Duration, check func() error) time.Duration {
	w.t.Helper()
	start := time.Now()
	for {
		err := check()
		if err == nil {
			return time.Since(start)
		}
		if time.Since(start) > within {
			w.t.Fatalf("%s: not within %s: %v", what, within, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// becomes waits until the Application has these sync and health statuses at
// the commit.
func (w *world) becomes(name, commit, sync, health string) *v1alpha1.Application {
	w.t.Helper()
	var a *v1alpha1.Application
	w.eventually(name+" becomes "+sync+" "+health, 20*time.Second, func() error {
		a = w.app(name)
		if a.Status.Sync.Status != sync || a.Status.Health.Status != health || a.Operation != nil || commit != "" && a.Status.Sync.Revision != commit {
			return fmt.Errorf("%s %s at %s, conditions %v, operation %+v", a.Status.Sync.Status, a.Status.Health.Status, a.Status.Sync.Revision, a.Status.Conditions, a.Status.OperationState)
		}
		return nil
	})
	return a
}

func want(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}
