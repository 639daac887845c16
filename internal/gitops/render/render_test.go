package render_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/gitops/render"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "render-worker" {
		if err := workerMain(); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(3)
		}
		return
	}
	os.Exit(m.Run())
}

// workerMain is the worker of these tests: the real one, but for checkouts
// that ask for trouble.
func workerMain() error {
	c := render.WorkerCommand()
	c.SetArgs(os.Args[2:])
	return c.Execute()
}

// checkout writes the files of a txtar archive into a new directory. A file
// whose content is "-> target" becomes a symbolic link.
func checkout(t *testing.T, archive string) (base, dir string) {
	t.Helper()
	// The worker runs as nobody: every directory on the way must be passable.
	base, err := os.MkdirTemp("", "render-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	if err := os.Chmod(base, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range txtar.Parse([]byte(archive)).Files {
		p := filepath.Join(base, "co", f.Name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if to, ok := strings.CutPrefix(string(f.Data), "-> "); ok {
			if err := os.Symlink(strings.TrimSpace(to), p); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(p, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return base, "co"
}

func local(t *testing.T, archive string, s v1alpha1.Source) (*render.Result, error) {
	t.Helper()
	base, dir := checkout(t, archive)
	root, err := os.OpenRoot(filepath.Join(base, dir))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	return render.Render(root, s)
}

func names(objects []*unstructured.Unstructured) []string {
	var out []string
	for _, o := range objects {
		out = append(out, o.GetKind()+"/"+o.GetName())
	}
	return out
}

const directoryFiles = `
-- app/b.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: b}
---
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}
- {apiVersion: v1, kind: Secret, metadata: {name: d}}
-- app/a.json --
{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}}
-- app/skipped.yaml --
# +argocd:skip-file-rendering
apiVersion: v1
kind: ConfigMap
metadata: {name: skipped}
-- app/values.yaml --
{{ not: yaml
-- app/README.md --
hello
-- app/sub/e.yml --
apiVersion: v1
kind: ConfigMap
metadata: {name: e}
`

func TestDirectory(t *testing.T) {
	for _, tt := range []struct {
		name string
		src  v1alpha1.Source
		want []string
	}{
		{"files, lists, documents", v1alpha1.Source{Path: "app"}, []string{"Service/a", "ConfigMap/b", "ConfigMap/c", "Secret/d"}},
		{"recurse", v1alpha1.Source{Path: "app", Directory: &v1alpha1.DirectorySource{Recurse: true}}, []string{"Service/a", "ConfigMap/b", "ConfigMap/c", "Secret/d", "ConfigMap/e"}},
		{"include", v1alpha1.Source{Path: "app", Directory: &v1alpha1.DirectorySource{Recurse: true, Include: "{*.json,sub/*}"}}, []string{"Service/a", "ConfigMap/e"}},
		{"exclude", v1alpha1.Source{Path: "./app/", Directory: &v1alpha1.DirectorySource{Exclude: "b.*"}}, []string{"Service/a"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res, err := local(t, directoryFiles, tt.src)
			if err != nil {
				t.Fatal(err)
			}
			if res.Type != render.TypeDirectory {
				t.Errorf("type = %s", res.Type)
			}
			if d := cmp.Diff(tt.want, names(res.Objects)); d != "" {
				t.Errorf("objects (-want +got):\n%s", d)
			}
		})
	}
}

const kustomizeFiles = `
-- k8s/base/kustomization.yaml --
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [deployment.yaml]
-- k8s/base/deployment.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: my-app}
spec:
  replicas: 1
  selector: {matchLabels: {app: my-app}}
  template:
    metadata: {labels: {app: my-app}}
    spec: {containers: [{name: my-app, image: my-app}]}
-- k8s/overlays/production/kustomization.yaml --
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - ../../base
patches:
  - path: replica-patch.yaml
namePrefix: prod-
commonLabels:
  env: production
images:
- {name: my-app, newName: registry/my-app, newTag: v1}
-- k8s/overlays/production/replica-patch.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: my-app}
spec: {replicas: 5}
`

func TestKustomize(t *testing.T) {
	type want struct {
		Name, Namespace, Image, Env string
		Replicas                    int64
	}
	for _, tt := range []struct {
		name string
		opts *v1alpha1.KustomizeSource
		want want
	}{
		{"as it is", nil, want{"prod-my-app", "", "registry/my-app:v1", "production", 5}},
		{"edited", &v1alpha1.KustomizeSource{
			NamePrefix: "x-", Namespace: "ns",
			Images:   []string{"my-app=other/img@sha256:" + strings.Repeat("a", 64)},
			Replicas: []v1alpha1.Replica{{Name: "my-app", Count: intstr.FromString("2")}},
		}, want{"x-my-app", "ns", "other/img@sha256:" + strings.Repeat("a", 64), "production", 2}},
		{"image keeps its name", &v1alpha1.KustomizeSource{Images: []string{"my-app=*:v9"}}, want{"prod-my-app", "", "registry/my-app:v9", "production", 5}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res, err := local(t, kustomizeFiles, v1alpha1.Source{Path: "k8s/overlays/production", Kustomize: tt.opts})
			if err != nil {
				t.Fatal(err)
			}
			if len(res.Objects) != 1 || res.Type != render.TypeKustomize {
				t.Fatalf("got %s %v", res.Type, names(res.Objects))
			}
			o := res.Objects[0]
			containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
			replicas, _, err := unstructured.NestedInt64(o.Object, "spec", "replicas")
			if err != nil {
				t.Fatal(err)
			}
			got := want{o.GetName(), o.GetNamespace(), containers[0].(map[string]any)["image"].(string), o.GetLabels()["env"], replicas}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name, files string
		src         v1alpha1.Source
		want        string
	}{
		{"no such path", "-- a/x --\n", v1alpha1.Source{Path: "b"}, `path "b" does not exist in the repository`},
		{"path leaves", "-- a/x --\n", v1alpha1.Source{Path: "../etc"}, `path "../etc" leaves the repository`},
		{"absolute path", "-- a/x --\n", v1alpha1.Source{Path: "/etc"}, `path "/etc" is absolute`},
		{"path is a file", "-- a --\n", v1alpha1.Source{Path: "a"}, `path "a" is not a directory`},
		{"path is a link out", "-- a --\n-> /etc\n", v1alpha1.Source{Path: "a"}, `does not exist`},
		{"chart", "-- a/Chart.yaml --\n", v1alpha1.Source{Path: "a"}, "source type Helm is not served"},
		{"jsonnet", "-- a/x.jsonnet --\n{}\n", v1alpha1.Source{Path: "a"}, "a/x.jsonnet: Jsonnet is not served"},
		{"overrides", "-- a/.argocd-source-x.yaml --\n", v1alpha1.Source{Path: "a"}, "parameter override files are not served"},
		{"both", "-- a/x --\n", v1alpha1.Source{Path: "a", Directory: &v1alpha1.DirectorySource{}, Kustomize: &v1alpha1.KustomizeSource{}}, "use one"},
		{"broken manifest", "-- a/x.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: [}\n", v1alpha1.Source{Path: "a"}, "a/x.yaml: yaml: line 2"},
		{"no kind", "-- a/x.yaml --\napiVersion: v1\nmetadata: {name: x, kind: z}\nspec:\n  kind: z\n", v1alpha1.Source{Path: "a", Directory: &v1alpha1.DirectorySource{Include: "x.yaml"}}, ""},
		{"manifest is a link out", "-- a/x.yaml --\n-> /etc/passwd\n", v1alpha1.Source{Path: "a"}, "a/x.yaml is a symbolic link out of the repository"},
		{"manifest is a relative link out", "-- a/x.yaml --\n-> ../../../../../../etc/passwd\n", v1alpha1.Source{Path: "a"}, "symbolic link out of the repository"},
		{"remote resource", "-- a/kustomization.yaml --\nresources: ['https://raw.githubusercontent.com/x/y/z.yaml']\n", v1alpha1.Source{Path: "a"}, `a/kustomization.yaml: "https://raw.githubusercontent.com/x/y/z.yaml" is outside the repository`},
		{"remote base below", "-- a/kustomization.yaml --\nresources: [../b]\n-- b/kustomization.yaml --\nresources: ['github.com/o/r//deploy?ref=v1']\n", v1alpha1.Source{Path: "a"}, "b/kustomization.yaml: \"github.com/o/r//deploy?ref=v1\" is outside the repository"},
		{"ssh base", "-- a/kustomization.yaml --\nresources: ['git@github.com:o/r.git']\n", v1alpha1.Source{Path: "a"}, "is outside the repository"},
		{"base leaves", "-- a/kustomization.yaml --\nresources: [../../../b]\n", v1alpha1.Source{Path: "a"}, "kustomize build"},
		{"file outside the kustomization", "-- a/kustomization.yaml --\nconfigMapGenerator: [{name: x, files: [../secret]}]\n-- secret --\ns\n", v1alpha1.Source{Path: "a"}, "is not in or below"},
		{"helm in kustomize", "-- a/kustomization.yaml --\nhelmCharts: [{name: x, repo: 'https://example.com'}]\n", v1alpha1.Source{Path: "a"}, "kustomize build"},
		{"program as a transformer", "-- a/kustomization.yaml --\nresources: [c.yaml]\ntransformers: [f.yaml]\n-- a/c.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n-- a/f.yaml --\napiVersion: example.com/v1\nkind: F\nmetadata: {name: f, annotations: {config.kubernetes.io/function: 'exec: {path: ./x}'}}\n-- a/x --\n#!/bin/sh\n", v1alpha1.Source{Path: "a"}, "kustomize build"},
		{"image as a generator", "-- a/kustomization.yaml --\ngenerators: [f.yaml]\n-- a/f.yaml --\napiVersion: example.com/v1\nkind: F\nmetadata: {name: f, annotations: {config.kubernetes.io/function: 'container: {image: x}'}}\n", v1alpha1.Source{Path: "a"}, "kustomize build"},
		{"bad image", kustomizeFiles, v1alpha1.Source{Path: "k8s/base", Kustomize: &v1alpha1.KustomizeSource{Images: []string{"my-app"}}}, "changes nothing"},
		{"no kustomization", "-- a/x.yaml --\n", v1alpha1.Source{Path: "a", Kustomize: &v1alpha1.KustomizeSource{}}, "a has no kustomization file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := local(t, tt.files, tt.src)
			if tt.want == "" {
				if err != nil {
					t.Fatalf("error %v, want none: the file is not Kubernetes", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error = %v, want one with %q", err, tt.want)
			}
		})
	}
}

func newPool(t *testing.T, o render.PoolOptions) *render.Pool {
	t.Helper()
	p, err := render.NewPool(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func TestPoolRendersInWorkers(t *testing.T) {
	base, dir := checkout(t, kustomizeFiles)
	p := newPool(t, render.PoolOptions{Base: base})
	req := render.Request{Checkout: dir, Source: v1alpha1.Source{Path: "k8s/base"}}
	for range 40 { // more than one worker's life
		res, err := p.Render(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if n, ok, err := unstructured.NestedInt64(res.Objects[0].Object, "spec", "replicas"); n != 1 || !ok || err != nil {
			t.Fatalf("replicas = %v, %v, %v: whole numbers must stay whole", n, ok, err)
		}
	}
	_, err := p.Render(t.Context(), render.Request{Checkout: dir, Source: v1alpha1.Source{Path: "nowhere"}})
	var content *render.Error
	if !errors.As(err, &content) {
		t.Fatalf("error = %v, want a mistake in the files", err)
	}
}

// A worker that is root at first can reach nothing but the checkouts: not by a
// link, and not by a bug that forgets os.Root, since it has another root. It is
// nobody, and alone in its network.
func TestWorkerIsConfined(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: other users' workers are confined by os.Root alone")
	}
	base, dir := checkout(t, "-- app/x.yaml --\n")
	p := newPool(t, render.PoolOptions{Base: base})
	_, err := p.Render(t.Context(), render.Request{Checkout: "../../../../etc", Source: v1alpha1.Source{Path: "."}})
	if err == nil || !strings.Contains(err.Error(), "open the checkout") {
		t.Fatalf("error = %v: the worker opened a directory outside its base", err)
	}
	if _, err := p.Render(t.Context(), render.Request{Checkout: dir, Source: v1alpha1.Source{Path: "app"}}); err != nil {
		t.Fatal(err)
	}
	worker := idleWorker(t)
	ours, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	if net, err := os.Readlink(worker + "/ns/net"); err != nil || net == ours {
		t.Errorf("the worker's network is %s, ours %s (%v)", net, ours, err)
	}
	if root, err := os.Readlink(worker + "/root"); err != nil || root != base {
		t.Errorf("the worker's root is %s, want %s (%v)", root, base, err)
	}
	status, err := os.ReadFile(worker + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"Uid:\t65534\t65534\t65534\t65534", "Gid:\t65534\t65534\t65534\t65534", "Groups:\t \n", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1"} {
		if !strings.Contains(string(status), line) {
			t.Errorf("the worker's status lacks %q:\n%s", line, status)
		}
	}
	if env, err := os.ReadFile(worker + "/environ"); err != nil || strings.Contains(string(env), "GOFLAGS") || len(env) > 60 {
		t.Errorf("the worker's environment is %q (%v)", env, err)
	}
}

// A container may forbid even root to change root or user. Rendering goes on,
// confined by os.Root.
func TestWorkerWithoutCapabilities(t *testing.T) {
	setpriv, err := exec.LookPath("setpriv")
	if err != nil || os.Geteuid() != 0 {
		t.Skip("needs root and setpriv to drop capabilities")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	base, dir := checkout(t, kustomizeFiles+"-- out/x.yaml --\n-> /etc/passwd\n")
	p := newPool(t, render.PoolOptions{Base: base, Program: []string{setpriv, "--bounding-set=-sys_chroot,-setuid,-setgid", self, "render-worker"}})
	if _, err := p.Render(t.Context(), render.Request{Checkout: dir, Source: v1alpha1.Source{Path: "k8s/base"}}); err != nil {
		t.Fatal(err)
	}
	_, err = p.Render(t.Context(), render.Request{Checkout: dir, Source: v1alpha1.Source{Path: "out"}})
	if err == nil || !strings.Contains(err.Error(), "symbolic link out of the repository") {
		t.Errorf("error = %v", err)
	}
}

// idleWorker returns the /proc directory of the one worker process.
func idleWorker(t *testing.T) string {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range tasks {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for _, pid := range strings.Fields(string(b)) {
			cmd, err := os.ReadFile("/proc/" + pid + "/cmdline")
			if err == nil && strings.Contains(string(cmd), "render-worker") {
				return "/proc/" + pid
			}
		}
	}
	t.Fatal("no worker found")
	return ""
}

func TestPoolBoundsTimeAndMemory(t *testing.T) {
	// Aliases that unfold to more than any machine has.
	var bomb strings.Builder
	bomb.WriteString("-- slow/kustomization.yaml --\nconfigMapGenerator:\n")
	for i := range 400 {
		bomb.WriteString("- {name: c" + strings.Repeat("x", i%50) + string(rune('a'+i%26)) + yamlInt(i) + ", literals: [a=b]}\n")
	}
	bomb.WriteString("-- big/x.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  a: " + strings.Repeat("y", 15<<20) + "\n")
	base, dir := checkout(t, bomb.String())

	t.Run("time", func(t *testing.T) {
		p := newPool(t, render.PoolOptions{Base: base, Timeout: 5 * time.Millisecond})
		_, err := p.Render(t.Context(), render.Request{Checkout: dir, Source: v1alpha1.Source{Path: "slow"}})
		if err == nil || !strings.Contains(err.Error(), "took longer than 5ms") {
			t.Fatalf("error = %v", err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		p := newPool(t, render.PoolOptions{Base: base})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := p.Render(ctx, render.Request{Checkout: dir, Source: v1alpha1.Source{Path: "slow"}}); !errors.Is(err, context.Canceled) {
			t.Fatalf("error = %v", err)
		}
	})
	t.Run("memory", func(t *testing.T) {
		p := newPool(t, render.PoolOptions{Base: base, Memory: 96 << 20})
		_, err := p.Render(t.Context(), render.Request{Checkout: dir, Source: v1alpha1.Source{Path: "big"}})
		var content *render.Error
		if !errors.As(err, &content) || !strings.Contains(err.Error(), "limits of 96 MiB of memory") {
			t.Fatalf("error = %v", err)
		}
	})
}

func yamlInt(i int) string {
	b, _ := yaml.Marshal(i)
	return strings.TrimSpace(string(b))
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: X}]\n"))
	f.Add([]byte("---\n{}\n---\n- a\n"))
	f.Add([]byte(`{"apiVersion":"v1","kind":"A","metadata":{"name":"b"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		objects, err := render.Decode(b)
		if err != nil {
			return
		}
		for _, o := range objects {
			if o.GetKind() == "" || o.GetAPIVersion() == "" {
				t.Fatalf("an object without kind or version: %v", o)
			}
		}
	})
}
