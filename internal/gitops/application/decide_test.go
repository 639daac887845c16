package application

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/gitops/compare"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// application reads an Application whose spec has the fields that all need.
func application(t *testing.T, s string) (*v1alpha1.Application, []string) {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(s), &u.Object); err != nil {
		t.Fatal(err)
	}
	app, unserved, err := v1alpha1.DecodeApplication(u)
	if err != nil {
		t.Fatal(err)
	}
	return app, unserved
}

const base = `
metadata: {name: shop, namespace: argocd}
spec:
  project: default
  source: {repoURL: u, path: p}
  destination: {server: https://kubernetes.default.svc, namespace: ns}
`

func TestCheckSpec(t *testing.T) {
	for _, tt := range []struct{ name, spec, want string }{
		{"served", "source: {repoURL: u, path: p}\ndestination: {name: in-cluster}\nsyncPolicy: {syncOptions: [CreateNamespace=true]}", ""},
		{"helm", "source: {repoURL: u, path: p, helm: {}}\ndestination: {name: in-cluster}", "spec.source.helm is not served by this version"},
		{"chart", "source: {repoURL: u, chart: c}\ndestination: {name: in-cluster}", "spec.source.chart is not served by this version; spec.source.path is missing"},
		{"sources", "sources: [{repoURL: u}]\ndestination: {name: in-cluster}", "spec.sources is not served by this version"},
		{"nothing", "destination: {name: in-cluster}", "spec.source is missing"},
		{"other cluster", "source: {repoURL: u, path: p}\ndestination: {server: https://other}", "spec.destination.server https://other is not served by this version"},
		{"other cluster by name", "source: {repoURL: u, path: p}\ndestination: {name: other}", "spec.destination.name other is not served"},
		{"no cluster", "source: {repoURL: u, path: p}", "spec.destination needs a server or a name"},
		{"two clusters", "source: {repoURL: u, path: p}\ndestination: {name: in-cluster, server: https://kubernetes.default.svc}", "use one"},
		{"option", "source: {repoURL: u, path: p}\ndestination: {name: in-cluster}\nsyncPolicy: {syncOptions: [Replace=true]}", "not served by this version: Replace=true"},
		{"retry", "source: {repoURL: u, path: p}\ndestination: {name: in-cluster}\nsyncPolicy: {retry: {backoff: {duration: soon}}}", `retry.backoff.duration: "soon" is not a duration`},
	} {
		app, unserved := application(t, "spec:\n  "+strings.ReplaceAll("project: default\n"+tt.spec, "\n", "\n  "))
		got := strings.Join(checkSpec(app.Spec, unserved), "; ")
		if !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestNeed(t *testing.T) {
	const compared = "status:\n  reconciledAt: '2026-11-24T11:59:30Z'\n  sync: {status: Synced, revision: r, comparedTo: {source: {repoURL: u, path: p}, destination: {server: https://kubernetes.default.svc, namespace: ns}}}\n"
	for _, tt := range []struct {
		name, app string
		asked     level
		want      level
	}{
		{"new", base, levelNone, levelLatest},
		{"compared a moment ago", base + compared, levelNone, levelNone},
		{"a managed object changed", base + compared, levelRecent, levelRecent},
		{"normal refresh", strings.Replace(base, "name: shop", "name: shop, annotations: {argocd.argoproj.io/refresh: normal}", 1) + compared, levelNone, levelLatest},
		{"hard refresh", strings.Replace(base, "name: shop", "name: shop, annotations: {argocd.argoproj.io/refresh: hard}", 1) + compared, levelRecent, levelHard},
		{"other source", strings.Replace(base, "path: p", "path: q", 1) + compared, levelNone, levelHard},
		{"other destination", strings.Replace(base, "namespace: ns", "namespace: other", 1) + compared, levelRecent, levelLatest},
		{"long ago", base + strings.Replace(compared, "11:59:30", "11:57:00", 1), levelNone, levelLatest},
	} {
		app, _ := application(t, tt.app)
		if got := need(app, tt.asked, now, 2*time.Minute); got != tt.want {
			t.Errorf("%s: level %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestAutoSync(t *testing.T) {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	dying := u.DeepCopy()
	dying.SetDeletionTimestamp(&metav1.Time{Time: now})
	off := compare.Resource{Key: compare.Key{Kind: "ConfigMap", Namespace: "ns", Name: "off"}, Target: u, Live: u, Status: "OutOfSync"}
	fine := compare.Resource{Key: compare.Key{Kind: "ConfigMap", Namespace: "ns", Name: "fine"}, Target: u, Live: u, Status: "Synced"}
	extra := compare.Resource{Key: compare.Key{Kind: "ConfigMap", Namespace: "ns", Name: "extra"}, Live: u, Status: "OutOfSync"}
	leaving := extra
	leaving.Live = dying

	const (
		auto     = "  syncPolicy: {automated: {}}\n"
		prune    = "  syncPolicy: {automated: {prune: true}}\n"
		heal     = "  syncPolicy: {automated: {prune: true, selfHeal: true}}\n"
		ok       = "status: {operationState: {phase: Succeeded, startedAt: '2026-11-24T11:59:58Z', finishedAt: '2026-11-24T11:59:59Z', operation: {sync: {}}, syncResult: {revision: r1, source: {repoURL: u, path: p}}}}\n"
		failed   = "status: {operationState: {phase: Failed, message: quota, startedAt: '2026-11-24T11:59:58Z', finishedAt: '2026-11-24T11:59:59Z', operation: {sync: {}}, syncResult: {revision: r1, source: {repoURL: u, path: p}}}}\n"
		healed1  = "status: {operationState: {phase: Succeeded, startedAt: '2026-11-24T11:59:58Z', finishedAt: '2026-11-24T11:59:59Z', operation: {sync: {autoHealAttemptsCount: 1}}, syncResult: {revision: r1, source: {repoURL: u, path: p}}}}\n"
		healed3  = "status: {operationState: {phase: Succeeded, startedAt: '2026-11-24T11:59:58Z', finishedAt: '2026-11-24T11:59:59Z', operation: {sync: {autoHealAttemptsCount: 3}}, syncResult: {revision: r1, source: {repoURL: u, path: p}}}}\n"
		longAgo9 = "status: {operationState: {phase: Succeeded, startedAt: '2026-11-24T11:00:00Z', finishedAt: '2026-11-24T11:00:00Z', operation: {sync: {autoHealAttemptsCount: 9}}, syncResult: {revision: r1, source: {repoURL: u, path: p}}}}\n"
	)
	type want struct {
		Sync, Prune bool
		Partial     []string
		Attempt     int64
		Problem     string
		Again       time.Duration
	}
	for _, tt := range []struct {
		name, app string
		resources []compare.Resource
		want      want
	}{
		{"no policy", base, []compare.Resource{off}, want{}},
		{"switched off", base + "  syncPolicy: {automated: {enabled: false}}\n", []compare.Resource{off}, want{}},
		{"new revision", base + auto, []compare.Resource{off, fine}, want{Sync: true}},
		{"with prune", base + prune, []compare.Resource{off}, want{Sync: true, Prune: true}},
		{"synced", base + auto, []compare.Resource{fine}, want{}},
		{"an operation is set", base + auto + "operation: {sync: {}}\n", []compare.Resource{off}, want{}},
		{"only pruning is due, prune is off", base + auto, []compare.Resource{fine, extra}, want{}},
		{"only pruning is due, prune is on", base + prune, []compare.Resource{fine, extra}, want{Sync: true, Prune: true}},
		{"what is being deleted is not deleted again", base + heal, []compare.Resource{fine, leaving}, want{}},
		{"everything would go", base + prune, []compare.Resource{extra}, want{Problem: "auto-sync will wipe out all resources"}},
		{"everything may go", base + "  syncPolicy: {automated: {prune: true, allowEmpty: true}}\n", []compare.Resource{extra}, want{Sync: true, Prune: true}},
		{"failed at this revision", base + heal + failed, []compare.Resource{off}, want{Problem: "Failed last sync attempt to r1: quota"}},
		{"failed at another revision", base + heal + strings.Replace(failed, "r1", "r0", 1), []compare.Resource{off}, want{Sync: true, Prune: true}},
		{"failed with another source", base + heal + strings.Replace(failed, "path: p", "path: q", 1), []compare.Resource{off}, want{Sync: true, Prune: true}},
		{"drift without self-heal", base + prune + ok, []compare.Resource{off}, want{}},
		{"drift", base + heal + ok, []compare.Resource{off, fine}, want{Sync: true, Prune: true, Partial: []string{"off"}, Attempt: 1}},
		{"drift again at once", base + heal + healed1, []compare.Resource{off}, want{Again: time.Second}},
		{"drift a third time", base + heal + healed3, []compare.Resource{off}, want{Again: 17 * time.Second}},
		{"rare drift heals at once", base + heal + longAgo9, []compare.Resource{off}, want{Sync: true, Prune: true, Partial: []string{"off"}, Attempt: 10}},
		{"a dry run is no attempt", base + heal + strings.Replace(failed, "sync: {}", "sync: {dryRun: true}", 1), []compare.Resource{off}, want{Sync: true, Prune: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			app, _ := application(t, tt.app)
			d := autoSync(app, &comparison{revision: "r1", resources: tt.resources}, compare.Sum(tt.resources), now)
			got := want{Problem: d.problem, Again: d.again}
			if d.operation != nil {
				got.Sync, got.Prune, got.Attempt = true, d.operation.Sync.Prune, d.operation.Sync.AutoHealAttemptsCount
				for _, r := range d.operation.Sync.Resources {
					got.Partial = append(got.Partial, r.Name)
				}
				if d.operation.Sync.Revision != "r1" || !d.operation.InitiatedBy.Automated || d.operation.Retry.Limit != 5 {
					t.Errorf("operation = %+v", d.operation)
				}
			}
			if strings.Contains(got.Problem, tt.want.Problem) && tt.want.Problem != "" {
				got.Problem = tt.want.Problem
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestClockThatIsSetBackDoesNotStretchWaits(t *testing.T) {
	for _, tt := range []struct {
		since time.Time
		want  time.Duration
	}{
		{now.Add(-10 * time.Second), 0},
		{now.Add(-2 * time.Second), 3 * time.Second},
		{now.Add(time.Hour), 5 * time.Second},
	} {
		if got := left(tt.since, 5*time.Second, now); got != tt.want {
			t.Errorf("since %s: %s, want %s", tt.since, got, tt.want)
		}
	}
}

func TestConcerns(t *testing.T) {
	p := event.Push{Repo: "o/r", Updates: []event.RefUpdate{{Ref: "refs/heads/main"}, {Ref: "refs/tags/v1"}}}
	for revision, want := range map[string]bool{"main": true, "v1": true, "": true, "HEAD": true, "refs/heads/main": true, "dev": false, "heads/main": false} {
		if got := concerns(p, revision); got != want {
			t.Errorf("%q: %v", revision, got)
		}
	}
}

func TestMergePatch(t *testing.T) {
	for _, tt := range []struct {
		name      string
		old, next any
		want      any
		changed   bool
	}{
		{"same", map[string]any{"a": int64(1)}, map[string]any{"a": int64(1)}, nil, false},
		{"field", map[string]any{"a": int64(1), "b": "x"}, map[string]any{"a": int64(2), "b": "x"}, map[string]any{"a": int64(2)}, true},
		{"gone", map[string]any{"a": int64(1)}, map[string]any{}, map[string]any{"a": nil}, true},
		{"deep", map[string]any{"a": map[string]any{"b": "x", "c": "y"}}, map[string]any{"a": map[string]any{"b": "z"}}, map[string]any{"a": map[string]any{"b": "z", "c": nil}}, true},
		{"lists whole", []any{"a"}, []any{"a", "b"}, []any{"a", "b"}, true},
		{"new", nil, map[string]any{"a": "b"}, map[string]any{"a": "b"}, true},
		{"all gone", []any{"a"}, nil, nil, true},
	} {
		got, changed := mergePatch(tt.old, tt.next)
		if d := cmp.Diff(tt.want, got); d != "" || changed != tt.changed {
			t.Errorf("%s: changed %v (-want +got):\n%s", tt.name, changed, d)
		}
	}
}

func TestHistoryKeepsWholeSuccessfulSyncs(t *testing.T) {
	app, _ := application(t, base+"  revisionHistoryLimit: 2\nstatus: {history: [{id: 4, revision: a}, {id: 5, revision: b}]}\n")
	end := metav1.NewTime(now)
	r := &run{app: app, state: v1alpha1.OperationState{Phase: v1alpha1.PhaseSucceeded, Operation: v1alpha1.Operation{Sync: &v1alpha1.SyncOperation{}}, SyncResult: &v1alpha1.SyncResult{Revision: "c"}}}
	var got []int64
	for _, h := range r.history(end) {
		got = append(got, h.ID)
	}
	if d := cmp.Diff([]int64{5, 6}, got); d != "" {
		t.Errorf("history (-want +got):\n%s", d)
	}
	for name, change := range map[string]func(*v1alpha1.OperationState){
		"failed":  func(s *v1alpha1.OperationState) { s.Phase = v1alpha1.PhaseFailed },
		"dry run": func(s *v1alpha1.OperationState) { s.Operation.Sync = &v1alpha1.SyncOperation{DryRun: true} },
		"partial": func(s *v1alpha1.OperationState) {
			s.Operation.Sync = &v1alpha1.SyncOperation{Resources: []v1alpha1.SyncResource{{}}}
		},
	} {
		other := *r
		change(&other.state)
		if h := other.history(end); h != nil {
			t.Errorf("%s sync is in the history: %v", name, h)
		}
	}
}
