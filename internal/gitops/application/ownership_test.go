package application_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/gitops/source"
)

var secrets = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}

// Objects that were there before are taken over and not made anew; those that
// only look like the Application's are left alone.
func TestOwnership(t *testing.T) {
	w := newWorld(t)
	w.control()
	w.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: owner}")
	w.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: owner}\ndata: {v: before, mine: kept}")
	w.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: stranger, namespace: owner}\ndata: {v: x}")
	w.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: copy, namespace: owner, annotations: {argocd.argoproj.io/tracking-id: 'owner:/ConfigMap:owner/a'}}\ndata: {v: x}")
	uid := w.get(configMaps, "owner", "a").GetUID()
	kept := "-- app/kept.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept, annotations: {argocd.argoproj.io/sync-options: Prune=false}}\n"
	commit := w.push("o/owner", configMap("a", "1")+kept)
	w.application("owner", automated("o/owner", "app", "owner"))
	w.becomes("owner", commit, "Synced", "Healthy")
	a := w.get(configMaps, "owner", "a")
	if a.GetUID() != uid || w.data("owner", "a", "v") != "1" || w.data("owner", "a", "mine") != "kept" {
		t.Errorf("the object that was there before: %v", a.Object)
	}

	// The mark goes: that is drift, although nothing owns the object then.
	w.patch(configMaps, "owner", "a", `{"metadata":{"annotations":null}}`)
	w.eventually("the mark is back", 10*time.Second, func() error {
		return want(w.get(configMaps, "owner", "a").GetAnnotations()[v1alpha1.AnnotationTrackingID] != "", "no mark")
	})

	// What somebody adds beside our fields is not ours and stays; a field that
	// leaves the repository leaves the object.
	w.patch(configMaps, "owner", "a", `{"data":{"theirs":"x"},"metadata":{"labels":{"theirs":"x"}}}`)
	second := w.push("o/owner", "-- app/a.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {w: '2'}\n")
	w.eventually("kept requires pruning and stays", 20*time.Second, func() error {
		a := w.app("owner")
		if a.Status.Sync.Revision != second || a.Operation != nil || w.data("owner", "a", "w") != "2" {
			return fmt.Errorf("status %+v", a.Status.Sync)
		}
		for _, r := range a.Status.Resources {
			if r.Name == "kept" {
				return want(r.RequiresPruning && r.Status == "OutOfSync", "resource %+v", r)
			}
		}
		return fmt.Errorf("kept is not listed")
	})
	if w.data("owner", "a", "v") != "" || w.data("owner", "a", "theirs") != "x" {
		t.Errorf("data = %v", w.get(configMaps, "owner", "a").Object["data"])
	}
	for _, name := range []string{"kept", "stranger", "copy"} {
		if w.get(configMaps, "owner", name) == nil {
			t.Errorf("%s was deleted", name)
		}
	}
	time.Sleep(500 * time.Millisecond)
	if n := len(w.app("owner").Status.History); n != 2 {
		t.Errorf("%d syncs, want 2: an object that may not be pruned must not be tried for ever", n)
	}

	// Two Applications with one object: both say so.
	w.push("o/other", "-- app/a.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {w: '2'}\n")
	w.application("other", "  source: {repoURL: REPO/o/other.git, path: app}\n  destination: {name: in-cluster, namespace: owner}\n")
	w.eventually("the other says that the object is shared", 20*time.Second, func() error {
		a := w.app("other")
		for _, c := range a.Status.Conditions {
			if c.Type == "SharedResourceWarning" && strings.Contains(c.Message, "applications other and owner") {
				return nil
			}
		}
		return fmt.Errorf("conditions %+v", a.Status.Conditions)
	})
}

// Nothing of a Secret's values appears in the Application, whatever happens.
func TestSecretsAreNotShown(t *testing.T) {
	w := newWorld(t)
	w.control()
	secret := func(v string) string {
		return "-- app/s.yaml --\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: " + v + "}\n"
	}
	commit := w.push("o/secret", secret("hunter2"))
	w.application("secret", strings.Replace(automated("o/secret", "app", "secret"), "selfHeal: true", "selfHeal: false", 1))
	w.becomes("secret", commit, "Synced", "Healthy")
	w.patch(secrets, "secret", "s", `{"stringData":{"password":"changed-by-hand"}}`)
	a := w.becomes("secret", commit, "OutOfSync", "Healthy")
	if why := a.Status.Resources[0].Why; why != "data.password differs" {
		t.Errorf("why = %q", why)
	}
	second := w.push("o/secret", secret("{not: a string}"))
	w.eventually("the refusal is told", 20*time.Second, func() error {
		a := w.app("secret")
		return want(a.Status.Sync.Revision == second && a.Status.OperationState.Phase != "Succeeded", "state %+v", a.Status.OperationState)
	})
	u, err := w.cluster.Dynamic.Resource(v1alpha1.Applications).Namespace(w.ns).Get(t.Context(), "secret", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(u.Object)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"hunter2", "aHVudGVyMg", "changed-by-hand", "Y2hhbmdlZC1ieS1oYW5k", "not: a string", "not:a"} {
		if strings.Contains(string(b), v) {
			t.Errorf("the Application shows %q:\n%s", v, b)
		}
	}
	// A key that leaves stringData leaves the Secret.
	for _, key := range []string{"password", "other"} {
		commit := w.push("o/secret", "-- app/s.yaml --\napiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {"+key+": x}\n")
		w.becomes("secret", commit, "Synced", "Healthy")
	}
	data, _ := w.get(secrets, "secret", "keys").Object["data"].(map[string]any)
	if len(data) != 1 || data["other"] == nil {
		t.Errorf("the Secret has %d keys", len(data))
	}
}

// A kind whose definition is removed takes the Application's objects with it;
// the controller says what is missing and goes on when it is back.
func TestDefinitionRemoved(t *testing.T) {
	w := newWorld(t)
	w.control()
	crd := `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.gone.example.com}
spec:
  group: gone.example.com
  names: {kind: Gadget, plural: gadgets}
  scope: Namespaced
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`
	w.apply(crd)
	commit := w.push("o/gone", "-- app/g.yaml --\napiVersion: gone.example.com/v1\nkind: Gadget\nmetadata: {name: g}\n"+configMap("c", "1"))
	w.application("gone", strings.Replace(automated("o/gone", "app", "gone"), "selfHeal: true", "selfHeal: false", 1))
	w.becomes("gone", commit, "Synced", "Healthy")
	if err := w.cluster.Dynamic.Resource(crds).Delete(t.Context(), "gadgets.gone.example.com", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually("the object is missed", 60*time.Second, func() error {
		a := w.app("gone")
		for _, r := range a.Status.Resources {
			if r.Kind == "Gadget" && r.Status == "OutOfSync" && r.Health.Status == "Missing" {
				return nil
			}
		}
		return fmt.Errorf("resources %+v", a.Status.Resources)
	})
	w.patch(v1alpha1.Applications, w.ns, "gone", `{"operation":{"sync":{}}}`)
	w.eventually("the sync names the kind", 20*time.Second, func() error {
		s := w.app("gone").Status.OperationState
		return want(s.Phase == "Failed" && strings.Contains(s.Message, "the cluster has no kind Gadget in gone.example.com/v1"), "state %+v", s)
	})
	w.apply(crd)
	w.eventually("a sync works again", 60*time.Second, func() error {
		a := w.app("gone")
		if a.Operation == nil && a.Status.OperationState.Phase != "Succeeded" {
			w.patch(v1alpha1.Applications, w.ns, "gone", `{"operation":{"sync":{}}}`)
		}
		return want(a.Status.Sync.Status == "Synced", "status %+v, state %+v", a.Status.Sync, a.Status.OperationState)
	})
}

// Pushes that were made while nobody listened are seen at the start.
func TestPushWhileDown(t *testing.T) {
	w := newWorld(t)
	stop := w.control()
	first := w.push("o/down", configMap("a", "1"))
	w.application("down", automated("o/down", "app", "down"))
	w.becomes("down", first, "Synced", "Healthy")
	stop()
	second := w.push("o/down", configMap("a", "2"))
	w.control()
	w.becomes("down", second, "Synced", "Healthy")
	if v := w.data("down", "a", "v"); v != "2" {
		t.Errorf("a is %q", v)
	}
}

// On a cluster whose Argo kinds are somebody else's, only what is opted in is
// touched.
func TestForeignDefinitions(t *testing.T) {
	w := newWorld(t)
	w.installKinds()
	const managedBy = `{"metadata":{"labels":{"app.kubernetes.io/managed-by":%s}}}`
	w.patch(crds, "", "applications.argoproj.io", fmt.Sprintf(managedBy, "null"))
	defer w.patch(crds, "", "applications.argoproj.io", fmt.Sprintf(managedBy, `"penstock"`))
	w.control()
	commit := w.push("o/foreign", configMap("a", "1"))
	w.application("foreign-theirs", automated("o/foreign", "app", "foreign-theirs"))
	w.application("foreign-ours", automated("o/foreign", "app", "foreign-ours"))
	w.patch(v1alpha1.Applications, w.ns, "foreign-ours", `{"metadata":{"labels":{"penstock.dev/managed":"true"}}}`)
	w.becomes("foreign-ours", commit, "Synced", "Healthy")
	time.Sleep(500 * time.Millisecond)
	if a := w.app("foreign-theirs"); a.Status.Sync.Status != "" || w.get(namespaces, "", "foreign-theirs") != nil {
		t.Errorf("an Application that is not opted in was reconciled: %+v", a.Status)
	}
}

// brokenExport is a Git host whose files cannot be read for a while.
type brokenExport struct {
	source.Host
	broken *atomic.Bool
}

func (b brokenExport) Export(ctx context.Context, repo, commit, dst string) error {
	if b.broken.Load() {
		return errors.New("the disk does not answer")
	}
	return b.Host.Export(ctx, repo, commit, dst)
}

// A failure of ours is tried again, is told when it goes on, and passes.
func TestOwnFailureIsTold(t *testing.T) {
	w := newWorld(t)
	var broken atomic.Bool
	broken.Store(true)
	w.host = brokenExport{w.repos, &broken}
	w.control()
	commit := w.push("o/own", configMap("a", "1"))
	w.application("own", automated("o/own", "app", "own"))
	w.eventually("the failure is told", 30*time.Second, func() error {
		a := w.app("own")
		return want(len(a.Status.Conditions) == 1 && a.Status.Conditions[0].Type == "ComparisonError" && strings.Contains(a.Status.Conditions[0].Message, "the disk does not answer"), "conditions %+v", a.Status.Conditions)
	})
	broken.Store(false)
	w.becomes("own", commit, "Synced", "Healthy")
}
