package compare_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/penstock-dev/penstock/internal/gitops/compare"
	"github.com/penstock-dev/penstock/internal/host/cluster"
)

func obj(t *testing.T, s string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(s), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

func TestOwner(t *testing.T) {
	for _, tt := range []struct {
		name string
		key  compare.Key
		mark string
		want string
	}{
		{"own", compare.Key{Group: "apps", Kind: "Deployment", Namespace: "ns", Name: "web"}, "shop:apps/Deployment:ns/web", "shop"},
		{"core group", compare.Key{Kind: "Service", Namespace: "ns", Name: "web"}, "shop:/Service:ns/web", "shop"},
		{"cluster-scoped carries the destination", compare.Key{Kind: "Namespace", Name: "ns"}, "shop:/Namespace:dest/ns", "shop"},
		{"copied to another name", compare.Key{Kind: "Service", Namespace: "ns", Name: "other"}, "shop:/Service:ns/web", ""},
		{"copied to another namespace", compare.Key{Kind: "Service", Namespace: "other", Name: "web"}, "shop:/Service:ns/web", ""},
		{"copied to another kind", compare.Key{Kind: "ConfigMap", Namespace: "ns", Name: "web"}, "shop:/Service:ns/web", ""},
		{"none", compare.Key{Kind: "Service"}, "", ""},
		{"nonsense", compare.Key{Kind: "Service"}, "a:b", ""},
		{"colon in a name", compare.Key{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "a:b"}, "shop:rbac.authorization.k8s.io/ClusterRole:ns/a:b", "shop"},
	} {
		if got := compare.OwnerByMark(tt.key, tt.mark); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// scope knows three kinds.
func scope(gvk schema.GroupVersionKind) (namespaced, known bool, err error) {
	switch gvk.Kind {
	case "Namespace", "CustomResourceDefinition":
		return false, true, nil
	case "ConfigMap", "Secret", "Deployment":
		return true, true, nil
	case "Broken":
		return false, false, errors.New("no answer")
	}
	return false, false, nil
}

func TestTargets(t *testing.T) {
	targets, repeated, err := compare.Targets([]*unstructured.Unstructured{
		obj(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, creationTimestamp: null, resourceVersion: '1'}\nstatus: {x: 1}"),
		obj(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: other}"),
		obj(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: ns, namespace: wrong}"),
		obj(t, "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: YQ==}\nstringData: {b: bee}"),
		obj(t, "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: xs.example.com}"),
		obj(t, "apiVersion: example.com/v1\nkind: X\nmetadata: {name: x}"),
		obj(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: {second: 'yes'}}"),
	}, "shop", "ns", scope)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"ConfigMap ns/a"}, repeated); d != "" {
		t.Errorf("repeated (-want +got):\n%s", d)
	}
	var got []string
	for _, u := range targets {
		got = append(got, compare.KeyOf(u).String()+" "+u.GetAnnotations()["argocd.argoproj.io/tracking-id"])
	}
	if d := cmp.Diff([]string{
		"ConfigMap ns/a shop:/ConfigMap:ns/a",
		"ConfigMap other/a shop:/ConfigMap:other/a",
		"Namespace ns shop:/Namespace:ns/ns",
		"Secret ns/s shop:/Secret:ns/s",
		"CustomResourceDefinition xs.example.com ",
		"X.example.com ns/x shop:example.com/X:ns/x",
	}, got); d != "" {
		t.Errorf("targets (-want +got):\n%s", d)
	}
	if targets[0].GetLabels()["second"] != "yes" || targets[0].Object["status"] != nil {
		t.Errorf("the last of two must count, without status: %v", targets[0].Object)
	}
	if d := cmp.Diff(map[string]any{"a": "YQ==", "b": "YmVl"}, targets[3].Object["data"]); d != "" || targets[3].Object["stringData"] != nil {
		t.Errorf("secret data (-want +got):\n%s", d)
	}
}

func TestTargetsRefuses(t *testing.T) {
	for name, tt := range map[string]struct{ object, want string }{
		"no name":           {"apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: a-}", "an object has no name"},
		"argo hook":         {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, annotations: {argocd.argoproj.io/hook: PreSync}}", "hook: PreSync (hooks)"},
		"helm hook":         {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, annotations: {helm.sh/hook: test}}", "helm.sh/hook: test"},
		"replace":           {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, annotations: {argocd.argoproj.io/sync-options: 'Prune=false,Replace=true'}}", "Replace=true"},
		"confirm":           {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, annotations: {argocd.argoproj.io/sync-options: 'Delete=confirm'}}", "Delete=confirm"},
		"API server silent": {"apiVersion: v1\nkind: Broken\nmetadata: {name: a}", "no answer"},
	} {
		_, _, err := compare.Targets([]*unstructured.Unstructured{obj(t, tt.object)}, "shop", "ns", scope)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", name, err, tt.want)
		}
	}
	if _, _, err := compare.Targets([]*unstructured.Unstructured{obj(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}")}, "shop", "", scope); err == nil {
		t.Error("an object without any namespace was taken")
	}
}

type answers map[string]compare.Verdict

func (a answers) Diff(_ context.Context, target, _ *unstructured.Unstructured) (compare.Verdict, error) {
	if target.GetName() == "error" {
		return compare.Verdict{}, errors.New("no answer")
	}
	return a[target.GetName()], nil
}

func TestMatchAndJudge(t *testing.T) {
	mark := func(u *unstructured.Unstructured, app string) *unstructured.Unstructured {
		compare.Track(u, app, "ns")
		return u
	}
	cm := func(name string) *unstructured.Unstructured {
		return obj(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {namespace: ns, name: "+name+"}")
	}
	owned := mark(cm("owned"), "shop")
	owned.SetOwnerReferences(nil)
	child := mark(cm("child"), "shop")
	unstructured.SetNestedSlice(child.Object, []any{map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "u"}}, "metadata", "ownerReferences")
	ignored := mark(cm("ignored"), "shop")
	a := ignored.GetAnnotations()
	a["argocd.argoproj.io/compare-options"] = "IgnoreExtraneous"
	ignored.SetAnnotations(a)
	resources := compare.Match("shop",
		[]*unstructured.Unstructured{mark(cm("same"), "shop"), mark(cm("differs"), "shop"), mark(cm("new"), "shop"), mark(cm("adopted"), "shop"), mark(cm("shared"), "shop")},
		[]*unstructured.Unstructured{mark(cm("same"), "shop"), mark(cm("differs"), "shop"), cm("adopted"), mark(cm("shared"), "other"), owned, child, ignored})
	if err := compare.Judge(t.Context(), resources, answers{"differs": {Why: "data.a differs"}, "adopted": {Why: "cannot be applied: x", Refused: true}}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range resources {
		line := r.Name + " " + r.Status
		for _, w := range []struct {
			word string
			on   bool
		}{{"prune", r.RequiresPruning()}, {"ignored", r.Ignored()}, {"refused", r.Refused}, {"shared:" + r.Shared, r.Shared != ""}} {
			if w.on {
				line += " " + w.word
			}
		}
		got = append(got, line)
	}
	if d := cmp.Diff([]string{
		"adopted OutOfSync refused",
		"differs OutOfSync",
		"ignored OutOfSync prune ignored",
		"new OutOfSync",
		"owned OutOfSync prune",
		"same Synced",
		"shared Synced shared:other",
	}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if s := compare.Sum(resources); s != "OutOfSync" {
		t.Errorf("sum = %s", s)
	}
	only := compare.Match("shop", nil, []*unstructured.Unstructured{ignored})
	if err := compare.Judge(t.Context(), only, answers{}); err != nil || compare.Sum(only) != "Synced" {
		t.Errorf("an ignored object alone makes the application %s (%v)", compare.Sum(only), err)
	}
	if err := compare.Judge(t.Context(), compare.Match("shop", []*unstructured.Unstructured{cm("error")}, []*unstructured.Unstructured{cm("error")}), answers{}); err == nil {
		t.Error("an error of the differ is lost")
	}
}

func TestWords(t *testing.T) {
	live := obj(t, "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, resourceVersion: '1', generation: 3, labels: {x: old}}\nspec: {replicas: 3, gone: true, containers: [{name: c, image: a:1}, {name: d}]}\nstatus: {ready: 1}")
	next := obj(t, "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, resourceVersion: '2', labels: {x: old, app.kubernetes.io/name: web}}\nspec: {replicas: 5, containers: [{name: c, image: a:2}, {name: d}]}")
	changes := compare.Changes(live, next)
	if got, want := compare.Words(changes, false), `metadata.labels[app.kubernetes.io/name] becomes "web"; spec.containers[c].image is "a:1", becomes "a:2"; spec.gone true goes; and 1 more`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if w := compare.Words(compare.Changes(live, live), false); w != "" {
		t.Errorf("an object differs from itself: %s", w)
	}
	secret := compare.Words([]compare.Change{{Path: "data.password", From: "aHVudGVyMg==", To: "c2VjcmV0"}}, true)
	if secret != "data.password differs" {
		t.Errorf("words about a secret: %s", secret)
	}
}

// refuser is an API server that refuses everything, with the value in its words.
type refuser struct{ calls int }

func (r *refuser) Apply(_ context.Context, u *unstructured.Unstructured, _ cluster.ApplyOptions) (*unstructured.Unstructured, error) {
	r.calls++
	return nil, apierrors.NewInvalid(u.GroupVersionKind().GroupKind(), u.GetName(), field.ErrorList{field.Invalid(field.NewPath("data"), "hunter2", "bad")})
}

func TestServerDifferMasksSecretsAndRemembers(t *testing.T) {
	secret := obj(t, "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: ns}\ndata: {a: YQ==}")
	r := &refuser{}
	d := compare.NewServerDiffer(r)
	for range 2 {
		v, err := d.Diff(t.Context(), secret, secret)
		if err != nil || !v.Refused || strings.Contains(v.Why, "hunter2") {
			t.Fatalf("verdict %+v, %v", v, err)
		}
	}
	if r.calls != 1 {
		t.Errorf("asked %d times about the same", r.calls)
	}
	changed := secret.DeepCopy()
	changed.SetLabels(map[string]string{"a": "b"})
	if _, err := d.Diff(t.Context(), secret, changed); err != nil || r.calls != 2 {
		t.Errorf("a changed live object was not asked about (%d, %v)", r.calls, err)
	}
	status := changed.DeepCopy()
	status.Object["status"] = map[string]any{"x": "y"}
	if _, err := d.Diff(t.Context(), secret, status); err != nil || r.calls != 2 {
		t.Errorf("a change of status was asked about (%d, %v)", r.calls, err)
	}
}

func FuzzOwnerByMark(f *testing.F) {
	f.Add("shop:apps/Deployment:ns/web")
	f.Fuzz(func(t *testing.T, mark string) {
		k := compare.Key{Group: "apps", Kind: "Deployment", Namespace: "ns", Name: "web"}
		if app := compare.OwnerByMark(k, mark); app != "" && mark != app+":apps/Deployment:ns/web" {
			t.Fatalf("%q was read as a mark of %q", mark, app)
		}
	})
}
