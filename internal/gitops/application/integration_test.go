package application_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
)

// automated is the spec of an Application that keeps itself in sync.
func automated(repo, path, ns string) string {
	return fmt.Sprintf(`  source: {repoURL: REPO/%s.git, targetRevision: main, path: %s}
  destination: {server: "https://kubernetes.default.svc", namespace: %s}
  syncPolicy:
    automated: {prune: true, selfHeal: true}
    syncOptions: [CreateNamespace=true]
`, repo, path, ns)
}

func configMap(name, value string) string {
	return fmt.Sprintf("-- app/%s.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {v: %q}\n", name, name, value)
}

// The main job: what is pushed is applied within a second; what goes from the
// repository goes from the cluster; what people change comes back.
func TestPushIsApplied(t *testing.T) {
	w := newWorld(t)
	w.control()
	first := w.push("o/push", configMap("a", "1")+configMap("b", "1"))
	w.application("push", automated("o/push", "app", "push"))
	a := w.becomes("push", first, "Synced", "Healthy")
	if len(a.Status.History) != 1 || a.Status.History[0].Revision != first || !a.Status.History[0].InitiatedBy.Automated {
		t.Errorf("history = %+v", a.Status.History)
	}
	if s := a.Status.OperationState; s == nil || s.Phase != "Succeeded" || len(s.SyncResult.Resources) != 2 {
		t.Errorf("operation = %+v", s)
	}

	fastest := time.Hour
	for i := range 5 {
		v := fmt.Sprint("change ", i)
		w.push("o/push", configMap("a", v)+configMap("b", "1"))
		took := w.eventually("the push is applied", 10*time.Second, func() error { return want(w.data("push", "a", "v") == v, "a is %q", w.data("push", "a", "v")) })
		fastest = min(fastest, took)
		t.Logf("push to applied: %s", took.Round(time.Millisecond))
	}
	if fastest > time.Second {
		t.Errorf("the fastest of 5 pushes took %s to be applied, the budget is 1 s", fastest)
	}

	last := w.push("o/push", configMap("a", "last"))
	w.eventually("b is pruned", 10*time.Second, func() error { return want(w.get(configMaps, "push", "b") == nil, "b is there") })
	w.becomes("push", last, "Synced", "Healthy")

	w.patch(configMaps, "push", "a", `{"data":{"v":"by hand"}}`)
	took := w.eventually("the change by hand is undone", 10*time.Second, func() error { return want(w.data("push", "a", "v") == "last", "a is %q", w.data("push", "a", "v")) })
	t.Logf("drift to healed: %s", took.Round(time.Millisecond))
	a = w.becomes("push", last, "Synced", "Healthy")
	if n := a.Status.OperationState.Operation.Sync.AutoHealAttemptsCount; n != 1 {
		t.Errorf("self-heal attempts = %d", n)
	}
	if n := len(a.Status.History); n != 7 {
		t.Errorf("history has %d entries, want 7: a partial sync does not belong there", n)
	}

	if err := w.cluster.Dynamic.Resource(configMaps).Namespace("push").Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually("the deleted object comes back", 20*time.Second, func() error { return want(w.data("push", "a", "v") == "last", "a is %q", w.data("push", "a", "v")) })
}

// A sync that has ended must not be followed by others: the watches may lag
// behind what we wrote.
func TestOneSyncPerCommit(t *testing.T) {
	w := newWorld(t)
	w.control()
	w.push("o/once", configMap("a", "0"))
	w.application("once", automated("o/once", "app", "once"))
	for i := 1; i <= 10; i++ {
		commit := w.push("o/once", configMap("a", fmt.Sprint(i))+configMap(fmt.Sprint("n", i), "x"))
		w.becomes("once", commit, "Synced", "Healthy")
	}
	time.Sleep(time.Second)
	a := w.app("once")
	if op := a.Status.OperationState.Operation.Sync; op.AutoHealAttemptsCount != 0 {
		t.Errorf("the last operation was a self-heal (%d) though nothing drifted", op.AutoHealAttemptsCount)
	}
	ids := map[int64]bool{}
	for _, h := range a.Status.History {
		if ids[h.ID] {
			t.Errorf("history has id %d twice", h.ID)
		}
		ids[h.ID] = true
	}
	if last := a.Status.History[len(a.Status.History)-1]; last.ID != 10 || len(a.Status.History) != 10 {
		t.Errorf("history ends with id %d and has %d entries, want 10 and 10: one for each commit but the first", last.ID, len(a.Status.History))
	}
}

func TestKustomizeWorkloads(t *testing.T) {
	w := newWorld(t)
	w.control()
	commit := w.push("o/kustomize", `
-- k8s/base/kustomization.yaml --
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
    spec: {containers: [{name: my-app, image: my-app, resources: {requests: {cpu: 0.5}}}]}
-- k8s/overlays/production/kustomization.yaml --
resources: [../../base]
namePrefix: prod-
replicas: [{name: my-app, count: 2}]
-- k8s/overlays/production/README.md --
`)
	w.application("kustomize", fmt.Sprintf(`  source: {repoURL: REPO/o/kustomize.git, path: k8s/overlays/production, kustomize: {images: ["my-app=registry/my-app@sha256:%s"]}}
  destination: {name: in-cluster, namespace: kustomize}
  syncPolicy: {automated: {}, syncOptions: [CreateNamespace=true]}
`, strings.Repeat("a", 64)))
	// No Pod runs here, so the Deployment stays on its way; and what the API
	// server writes differently (500m) is no difference.
	a := w.becomes("kustomize", commit, "Synced", "Progressing")
	if a.Status.SourceType != "Kustomize" || len(a.Status.Summary.Images) != 1 || a.Status.Summary.Images[0] != "registry/my-app@sha256:"+strings.Repeat("a", 64) {
		t.Errorf("type %s, images %v", a.Status.SourceType, a.Status.Summary.Images)
	}
	d := w.get(deployments, "kustomize", "prod-my-app")
	if d == nil || d.GetAnnotations()[v1alpha1.AnnotationTrackingID] != "kustomize:apps/Deployment:kustomize/prod-my-app" {
		t.Fatalf("deployment = %v", d)
	}
}

func TestManualSync(t *testing.T) {
	w := newWorld(t)
	w.control()
	commit := w.push("o/manual", configMap("a", "1"))
	w.application("manual", `  source: {repoURL: REPO/o/manual.git, path: app}
  destination: {name: in-cluster, namespace: manual}
`)
	w.becomes("manual", commit, "OutOfSync", "Missing")
	operate := func(op string) *v1alpha1.OperationState {
		t.Helper()
		w.patch(v1alpha1.Applications, w.ns, "manual", `{"operation":`+op+`}`)
		var s *v1alpha1.OperationState
		w.eventually("the operation ends", 20*time.Second, func() error {
			a := w.app("manual")
			s = a.Status.OperationState
			return want(a.Operation == nil && s != nil, "operation %+v, state %+v", a.Operation, s)
		})
		return s
	}
	if s := operate(`{"sync":{}}`); s.Phase != "Failed" || !strings.Contains(s.Message, `namespaces "manual" not found`) {
		t.Errorf("without its namespace: %s: %s", s.Phase, s.Message)
	}
	if s := operate(`{"sync":{"dryRun":true,"syncOptions":["CreateNamespace=true"]}}`); w.get(namespaces, "", "manual") != nil {
		t.Errorf("a dry run made the namespace: %s: %s", s.Phase, s.Message)
	}
	if s := operate(`{"sync":{"syncOptions":["CreateNamespace=true"]}}`); s.Phase != "Succeeded" || w.data("manual", "a", "v") != "1" {
		t.Errorf("sync: %s: %s", s.Phase, s.Message)
	}
	second := w.push("o/manual", configMap("b", "2"))
	w.becomes("manual", second, "OutOfSync", "Healthy")
	if s := operate(`{"sync":{}}`); s.Phase != "Succeeded" || w.data("manual", "b", "v") != "2" || w.data("manual", "a", "v") != "1" {
		t.Errorf("sync without prune: %s: %s", s.Phase, s.Message)
	} else {
		skipped := ""
		for _, r := range s.SyncResult.Resources {
			if r.Name == "a" {
				skipped = r.Status + " " + r.Message
			}
		}
		if skipped != "PruneSkipped ignored (requires pruning)" {
			t.Errorf("a: %q", skipped)
		}
	}
	if s := operate(`{"sync":{"revision":"` + commit + `","prune":true}}`); s.Phase != "Succeeded" || w.data("manual", "a", "v") != "1" {
		t.Errorf("sync to the first commit: %s: %s", s.Phase, s.Message)
	}
	w.eventually("b is pruned", 10*time.Second, func() error { return want(w.get(configMaps, "manual", "b") == nil, "b is there") })
	for op, wanted := range map[string]string{
		`{"sync":{"manifests":["x"]}}`:                 "not served by this version: operation.sync.manifests",
		`{"sync":{"syncOptions":["Replace=true"]}}`:    "Replace=true",
		`{"sync":{"revision":"nowhere"}}`:              `revision "nowhere"`,
		`{"info":[]}`:                                  "the operation has no sync",
		`{"sync":{},"retry":{"backoff":{"factor":0}}}`: "factor",
	} {
		if s := operate(op); s.Phase != "Error" || !strings.Contains(s.Message, wanted) {
			t.Errorf("%s: %s: %s, want %q", op, s.Phase, s.Message, wanted)
		}
	}
}

// What cannot be served is refused by a condition, and nothing is touched.
func TestRefusals(t *testing.T) {
	w := newWorld(t)
	w.control()
	w.push("o/refused", configMap("a", "1")+"-- chart/Chart.yaml --\nname: c\n-- hook/a.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, annotations: {argocd.argoproj.io/hook: PreSync}}\n-- bad/a.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: [\n")
	const dst = "\n  destination: {name: in-cluster, namespace: refused}\n  syncPolicy: {automated: {}, syncOptions: [CreateNamespace=true]}\n"
	for name, tt := range map[string]struct{ spec, condition, message string }{
		"helm":      {"  source: {repoURL: REPO/o/refused.git, path: app, helm: {values: x}}" + dst, "InvalidSpecError", "spec.source.helm is not served by this version"},
		"sources":   {"  sources: [{repoURL: REPO/o/refused.git, path: app}]" + dst, "InvalidSpecError", "spec.sources is not served"},
		"chart":     {"  source: {repoURL: REPO/o/refused.git, path: chart}" + dst, "ComparisonError", "source type Helm is not served"},
		"hook":      {"  source: {repoURL: REPO/o/refused.git, path: hook}" + dst, "ComparisonError", "argocd.argoproj.io/hook: PreSync (hooks)"},
		"bad":       {"  source: {repoURL: REPO/o/refused.git, path: bad}" + dst, "ComparisonError", "bad/a.yaml"},
		"path":      {"  source: {repoURL: REPO/o/refused.git, path: nowhere}" + dst, "ComparisonError", `path "nowhere" does not exist`},
		"revision":  {"  source: {repoURL: REPO/o/refused.git, path: app, targetRevision: nowhere}" + dst, "ComparisonError", `revision "nowhere"`},
		"elsewhere": {"  source: {repoURL: 'https://github.com/o/r.git', path: app}" + dst, "ComparisonError", "is not hosted here"},
		"cluster":   {"  source: {repoURL: REPO/o/refused.git, path: app}\n  destination: {server: 'https://1.2.3.4', namespace: refused}\n", "InvalidSpecError", "spec.destination.server https://1.2.3.4 is not served"},
	} {
		w.application(name, tt.spec)
		w.eventually(name, 20*time.Second, func() error {
			a := w.app(name)
			for _, c := range a.Status.Conditions {
				if c.Type == tt.condition && strings.Contains(c.Message, tt.message) && a.Status.Sync.Status == "Unknown" && a.Operation == nil && a.Status.OperationState == nil {
					return nil
				}
			}
			return fmt.Errorf("status %+v", a.Status)
		})
	}
	if w.get(namespaces, "", "refused") != nil {
		t.Error("a refused Application made its namespace")
	}
	// A project that forbids it, and one that does not exist.
	w.apply("apiVersion: argoproj.io/v1alpha1\nkind: AppProject\nmetadata: {name: narrow, namespace: " + w.ns + "}\nspec: {sourceRepos: ['*'], destinations: [{server: '*', namespace: narrow}], namespaceResourceBlacklist: [{group: '', kind: ConfigMap}]}")
	for name, tt := range map[string]struct{ project, ns, condition, message string }{
		"missing":     {"nowhere", "narrow", "InvalidSpecError", "project nowhere which does not exist"},
		"destination": {"narrow", "other", "InvalidSpecError", "do not match any of the allowed destinations in project 'narrow'"},
		"kind":        {"narrow", "narrow", "ComparisonError", "kind ConfigMap is not permitted in project narrow"},
	} {
		w.apply(fmt.Sprintf("apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: project-%s, namespace: %s}\nspec: {project: %s, source: {repoURL: REPO/o/refused.git, path: app}, destination: {name: in-cluster, namespace: %s}}", name, w.ns, tt.project, tt.ns))
		w.eventually(name, 20*time.Second, func() error {
			a := w.app("project-" + name)
			for _, c := range a.Status.Conditions {
				if c.Type == tt.condition && strings.Contains(c.Message, tt.message) {
					return nil
				}
			}
			return fmt.Errorf("conditions %+v", a.Status.Conditions)
		})
	}
}

// An object that the API server refuses fails the sync before anything is
// written, is not tried again at the same commit after the retries, and does
// not hold up the next commit.
func TestFailedSyncDoesNotHoldUpTheNext(t *testing.T) {
	w := newWorld(t)
	w.control()
	bad := configMap("good", "1") + "-- app/bad.yaml --\napiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {ports: [{port: 99999}]}\n"
	w.push("o/failing", bad)
	w.application("failing", automated("o/failing", "app", "failing")+"    retry: {limit: 3, backoff: {duration: 1h}}\n")
	w.eventually("the sync fails", 20*time.Second, func() error {
		s := w.app("failing").Status.OperationState
		return want(s != nil && s.RetryCount == 1 && strings.Contains(s.Message, "Service failing/bad") && strings.Contains(s.Message, "Retrying attempt #1"), "state %+v", s)
	})
	if w.get(configMaps, "failing", "good") != nil {
		t.Error("a part of a refused commit was applied")
	}
	good := w.push("o/failing", configMap("good", "2"))
	a := w.becomes("failing", good, "Synced", "Healthy")
	if a.Status.OperationState.RetryCount != 0 || len(a.Status.History) != 1 {
		t.Errorf("state %+v, history %+v", a.Status.OperationState, a.Status.History)
	}
}

func TestFailedSyncIsNotRepeated(t *testing.T) {
	w := newWorld(t)
	w.control()
	commit := w.push("o/norepeat", "-- app/bad.yaml --\napiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {ports: [{port: 99999}]}\n")
	w.application("norepeat", automated("o/norepeat", "app", "norepeat")+"    retry: {limit: 0}\n")
	w.eventually("the condition says so", 20*time.Second, func() error {
		a := w.app("norepeat")
		return want(a.Operation == nil && len(a.Status.Conditions) == 1 && a.Status.Conditions[0].Type == "SyncError" && strings.Contains(a.Status.Conditions[0].Message, "Failed last sync attempt to "+commit), "conditions %+v", a.Status.Conditions)
	})
	started := w.app("norepeat").Status.OperationState.StartedAt
	w.patch(v1alpha1.Applications, w.ns, "norepeat", `{"metadata":{"annotations":{"argocd.argoproj.io/refresh":"hard"}}}`)
	w.eventually("the refresh is done", 10*time.Second, func() error {
		a := w.app("norepeat")
		return want(a.Annotations[v1alpha1.AnnotationRefresh] == "", "annotation is there")
	})
	time.Sleep(300 * time.Millisecond)
	if s := w.app("norepeat").Status.OperationState; !s.StartedAt.Equal(&started) {
		t.Error("the failed commit was tried again")
	}
}

// Waves: a wave waits for the one before, and a Deployment that never becomes
// healthy (no Pod runs here) holds the next.
func TestWavesWaitForHealth(t *testing.T) {
	w := newWorld(t)
	w.control()
	deployment := func(replicas int) string {
		return fmt.Sprintf("-- app/d.yaml --\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec:\n  replicas: %d\n  selector: {matchLabels: {a: b}}\n  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: x}]}}\n", replicas)
	}
	later := "-- app/z.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: later, annotations: {argocd.argoproj.io/sync-wave: '1'}}\n"
	w.push("o/waves", deployment(1)+later)
	w.application("waves", automated("o/waves", "app", "waves"))
	w.eventually("the second wave waits", 20*time.Second, func() error {
		a := w.app("waves")
		return want(a.Status.OperationState != nil && a.Status.OperationState.Message == "waiting for healthy state of Deployment waves/d", "state %+v", a.Status.OperationState)
	})
	if w.get(configMaps, "waves", "later") != nil {
		t.Error("the second wave did not wait")
	}
	// A newer commit goes ahead of the one that is stuck, and zero Pods are healthy.
	good := w.push("o/waves", deployment(0)+later)
	w.becomes("waves", good, "Synced", "Healthy")
	if w.get(configMaps, "waves", "later") == nil {
		t.Error("the second wave was not applied")
	}
	// Terminating a stuck sync.
	w.push("o/waves", deployment(3)+later+configMap("extra", "1"))
	w.eventually("it is stuck again", 20*time.Second, func() error {
		a := w.app("waves")
		return want(a.Operation != nil && strings.HasPrefix(a.Status.OperationState.Message, "waiting"), "state %+v", a.Status.OperationState)
	})
	w.patch(v1alpha1.Applications, w.ns, "waves", `{"status":{"operationState":{"phase":"Terminating"}}}`)
	w.eventually("it is terminated", 30*time.Second, func() error {
		a := w.app("waves")
		return want(a.Operation == nil && a.Status.OperationState.Phase == "Failed" && a.Status.OperationState.Message == "Operation terminated", "state %+v", a.Status.OperationState)
	})
}

// A new kind and its objects in one commit.
func TestDefinitionsComeFirst(t *testing.T) {
	w := newWorld(t)
	w.control()
	commit := w.push("o/crd", `
-- app/a-cr.yaml --
apiVersion: things.example.com/v1
kind: Thing
metadata: {name: one}
spec: {size: 3}
-- app/crd.yaml --
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.things.example.com}
spec:
  group: things.example.com
  names: {kind: Thing, plural: things}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}
-- app/ns.yaml --
apiVersion: v1
kind: Namespace
metadata: {name: crd-other}
-- app/other.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: c, namespace: crd-other}
`)
	w.application("crd", automated("o/crd", "app", "crd"))
	w.becomes("crd", commit, "Synced", "Healthy")
}

// app-of-apps, and deletion that cascades.
func TestAppOfAppsAndCascade(t *testing.T) {
	w := newWorld(t)
	w.control()
	w.push("o/child", configMap("a", "1"))
	w.push("o/root", strings.ReplaceAll(fmt.Sprintf(`
-- apps/child.yaml --
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: child, finalizers: [resources-finalizer.argocd.argoproj.io]}
spec:
  project: default
%s`, automated("o/child", "app", "cascade")), "REPO/", w.url))
	w.application("root", fmt.Sprintf("  source: {repoURL: REPO/o/root.git, path: apps}\n  destination: {name: in-cluster, namespace: %s}\n  syncPolicy: {automated: {prune: true, selfHeal: true}}\n", w.ns))
	w.becomes("root", "", "Synced", "Healthy")
	w.becomes("child", "", "Synced", "Healthy")
	if w.data("cascade", "a", "v") != "1" {
		t.Fatal("the child's object is not there")
	}
	apps := w.cluster.Dynamic.Resource(v1alpha1.Applications).Namespace(w.ns)
	w.patch(v1alpha1.Applications, w.ns, "root", `{"metadata":{"finalizers":["resources-finalizer.argocd.argoproj.io"]}}`)
	if err := apps.Delete(t.Context(), "root", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually("everything is gone", 30*time.Second, func() error {
		return want(w.get(configMaps, "cascade", "a") == nil && w.get(v1alpha1.Applications, w.ns, "child") == nil && w.get(v1alpha1.Applications, w.ns, "root") == nil, "something is left")
	})
	if w.get(namespaces, "", "cascade") == nil {
		t.Error("the namespace went with the Application: it is not an object of it")
	}
}
