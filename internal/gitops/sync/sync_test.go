package sync_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/gitops/compare"
	"github.com/penstock-dev/penstock/internal/gitops/health"
	"github.com/penstock-dev/penstock/internal/gitops/sync"
)

// resources reads lines of "apply|prune|both kind ns/name [wave] [option...]".
func resources(t *testing.T, lines ...string) []compare.Resource {
	t.Helper()
	var out []compare.Resource
	for _, line := range lines {
		f := strings.Fields(line)
		ns, name, ok := strings.Cut(f[2], "/")
		if !ok {
			ns, name = "", f[2]
		}
		kind := strings.Split(f[1], ".")
		group := map[string]string{"Deployment": "apps", "CustomResourceDefinition": "apiextensions.k8s.io"}[kind[0]]
		if len(kind) > 1 {
			group = kind[1]
		}
		u := &unstructured.Unstructured{}
		text := fmt.Sprintf("apiVersion: %s/v1\nkind: %s\nmetadata: {name: %s, uid: %s}", group, kind[0], name, name)
		if kind[0] == "CustomResourceDefinition" {
			text += "\nspec: {group: example, names: {kind: X}}"
		}
		if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
			t.Fatal(err)
		}
		r := compare.Resource{Key: compare.Key{Group: group, Kind: kind[0], Namespace: ns, Name: name}, Status: v1alpha1.SyncStatusOutOfSync}
		if f[0] != "prune" {
			r.Target = u
		}
		if f[0] != "apply" {
			r.Live = u
		}
		for _, o := range f[3:] {
			switch o {
			case "noprune":
				r.Options.NoPrune = true
			case "prunelast":
				r.Options.PruneLast = true
			case "synced":
				r.Status = v1alpha1.SyncStatusSynced
			default:
				if _, err := fmt.Sscan(o, &r.Options.Wave); err != nil {
					t.Fatalf("%s: %v", line, err)
				}
			}
		}
		out = append(out, r)
	}
	return out
}

func show(tasks []sync.Task) []string {
	var out []string
	for _, t := range tasks {
		verb := "apply"
		if t.Prune() {
			verb = "prune"
		}
		line := fmt.Sprintf("%d %s %s %s", t.Wave, verb, t.Kind, t.Name)
		if t.Skip != "" {
			line += " " + t.Skip
		}
		out = append(out, line)
	}
	return out
}

func TestPlan(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   []string
		o    sync.Options
		want []string
	}{
		{"kinds in order", []string{
			"apply Zebra.example ns/z", "apply Deployment ns/d", "apply Service ns/b", "apply Service ns/a", "apply ConfigMap ns/c", "apply Namespace ns",
		}, sync.Options{}, []string{
			"0 apply Namespace ns", "0 apply ConfigMap c", "0 apply Service a", "0 apply Service b", "0 apply Deployment d", "0 apply Zebra z",
		}},
		{"waves before kinds", []string{"apply Namespace other 1", "apply Deployment ns/d -1", "apply Service ns/s"}, sync.Options{},
			[]string{"-1 apply Deployment d", "0 apply Service s", "1 apply Namespace other"}},
		{"namespace and definition come before their users", []string{"apply Namespace ns 5", "apply Service ns/s 1", "apply CustomResourceDefinition xs 3", "apply X.example ns/x 2"}, sync.Options{},
			[]string{"1 apply Namespace ns", "1 apply Service s", "2 apply CustomResourceDefinition xs", "2 apply X x"}},
		{"prune first, asked for", []string{"apply Service ns/new", "prune Service ns/old"}, sync.Options{Prune: true},
			[]string{"0 prune Service old", "0 apply Service new"}},
		{"prune not asked for", []string{"prune Service ns/old", "prune Service ns/kept noprune"}, sync.Options{},
			[]string{"0 prune Service kept ignored (no prune)", "0 prune Service old ignored (requires pruning)"}},
		{"prune waves are mirrored", []string{"prune Service ns/first 0", "prune Service ns/second 2", "prune Service ns/third 7", "apply Service ns/x 1"}, sync.Options{Prune: true},
			[]string{"0 prune Service third", "1 apply Service x", "2 prune Service second", "7 prune Service first"}},
		{"prune last", []string{"prune Service ns/old", "apply Service ns/x 4"}, sync.Options{Prune: true, PruneLast: true},
			[]string{"4 apply Service x", "5 prune Service old"}},
		{"prune last by the object", []string{"prune Service ns/old prunelast", "prune Service ns/other"}, sync.Options{Prune: true},
			[]string{"0 prune Service other", "1 prune Service old"}},
		{"out of sync only", []string{"both Service ns/a synced", "both Service ns/b"}, sync.Options{OutOfSyncOnly: true}, []string{"0 apply Service b"}},
		{"synced ones too", []string{"both Service ns/a synced", "both Service ns/b"}, sync.Options{}, []string{"0 apply Service a", "0 apply Service b"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, show(sync.Plan(resources(t, tt.in...), tt.o))); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestNext plays whole syncs: each step says what the cluster shows of the
// objects and what is expected to be done.
func TestNext(t *testing.T) {
	type step struct {
		see  map[string]string // name -> health, "gone", "none" (no health)
		fail map[string]string // name -> refusal of the tasks that run in this step
		want string
	}
	for _, tt := range []struct {
		name  string
		in    []string
		steps []step
	}{
		{"one wave ends at once, healthy or not", []string{"apply Deployment ns/d", "apply Service ns/s"}, []step{
			{want: "run s d"},
			{see: map[string]string{"d": "Progressing", "s": "Progressing"}, want: "Succeeded: successfully synced (all tasks run)"},
		}},
		{"a wave waits for the one before", []string{"apply Deployment ns/d 0", "apply Service ns/s 1"}, []step{
			{want: "run d"},
			{see: map[string]string{"d": "Progressing"}, want: "wait: waiting for healthy state of Deployment ns/d"},
			{see: map[string]string{"d": "Suspended"}, want: "wait: waiting for healthy state of Deployment ns/d"},
			{see: map[string]string{"d": "Healthy"}, want: "run s"},
			{want: "Succeeded: successfully synced (all tasks run)"},
		}},
		{"a kind without health is done", []string{"apply ConfigMap ns/c 0", "apply Service ns/s 1"}, []step{
			{want: "run c"}, {see: map[string]string{"c": "none"}, want: "run s"}, {want: "Succeeded: successfully synced (all tasks run)"},
		}},
		{"a sick wave ends the sync", []string{"apply Deployment ns/d 0", "apply Service ns/s 1"}, []step{
			{want: "run d"},
			{see: map[string]string{"d": "Degraded"}, want: "Failed: one or more objects did not become healthy, reason: Deployment ns/d: Degraded"},
		}},
		{"an object that vanishes ends the sync", []string{"apply Deployment ns/d 0", "apply Service ns/s 1"}, []step{
			{want: "run d"},
			{see: map[string]string{"d": "gone"}, want: "Failed: one or more objects did not become healthy, reason: Deployment ns/d: is gone"},
		}},
		{"a refusal ends the sync", []string{"apply Deployment ns/d 0", "apply Service ns/s 1"}, []step{
			{fail: map[string]string{"d": "quota"}, want: "run d"},
			{want: "Failed: one or more objects failed to apply, reason: Deployment ns/d: quota"},
		}},
		{"a deletion is waited for", []string{"prune Service ns/old 0", "apply Service ns/new 1"}, []step{
			{want: "run old"},
			{see: map[string]string{"old": "Progressing"}, want: "wait: waiting for deletion of Service ns/old"},
			{see: map[string]string{"old": "gone"}, want: "run new"},
			{want: "Succeeded: successfully synced (all tasks run)"},
		}},
		{"nothing to do", nil, []step{{want: "Succeeded: successfully synced (all tasks run)"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tasks := sync.Plan(resources(t, tt.in...), sync.Options{Prune: true})
			results := map[compare.Key]sync.Result{}
			for i, s := range tt.steps {
				a := sync.Next(tasks, results, func(k compare.Key) sync.Seen {
					switch h := s.see[k.Name]; h {
					case "gone":
						return sync.Seen{}
					case "none":
						return sync.Seen{Exists: true}
					default:
						return sync.Seen{Exists: true, Health: health.Health{Status: h}}
					}
				})
				got := ""
				switch {
				case a.Done != "":
					got = a.Done + ": " + a.Message
				case a.Wait != "":
					got = "wait: " + a.Wait
				default:
					var names []string
					for _, task := range a.Run {
						names = append(names, task.Name)
						r := sync.Result{Status: v1alpha1.ResultSynced, Phase: v1alpha1.PhaseRunning}
						if task.Prune() {
							r.Status = v1alpha1.ResultPruned
						}
						if why := s.fail[task.Name]; why != "" {
							r = sync.Result{Status: v1alpha1.ResultSyncFailed, Message: why, Phase: v1alpha1.PhaseFailed}
						}
						results[task.Key] = r
					}
					got = "run " + strings.Join(names, " ")
				}
				if got != s.want {
					t.Fatalf("step %d: %s\nwant    %s", i, got, s.want)
				}
			}
		})
	}
}

func TestParseOptions(t *testing.T) {
	o, bad := sync.ParseOptions([]string{"CreateNamespace=true", "PruneLast=true", "PrunePropagationPolicy=background", "Validate=false", "ServerSideApply=true", "Replace=true", "CreateNamespace=maybe", "ServerSideApply=false"})
	if !o.CreateNamespace || !o.PruneLast || !o.Lenient || o.Propagation != "Background" {
		t.Errorf("options = %+v", o)
	}
	if d := cmp.Diff([]string{"CreateNamespace=maybe", "Replace=true", "ServerSideApply=false"}, bad); d != "" {
		t.Errorf("unserved (-want +got):\n%s", d)
	}
}

func TestRetry(t *testing.T) {
	factor := int64(3)
	for _, tt := range []struct {
		name  string
		r     v1alpha1.RetryStrategy
		done  int64
		want  time.Duration
		again bool
	}{
		{"none", v1alpha1.RetryStrategy{}, 0, 0, false},
		{"first", v1alpha1.RetryStrategy{Limit: 2}, 0, 5 * time.Second, true},
		{"second", v1alpha1.RetryStrategy{Limit: 2}, 1, 10 * time.Second, true},
		{"spent", v1alpha1.RetryStrategy{Limit: 2}, 2, 0, false},
		{"for ever, up to the most", v1alpha1.RetryStrategy{Limit: -1}, 1000, 3 * time.Minute, true},
		{"own backoff", v1alpha1.RetryStrategy{Limit: 5, Backoff: &v1alpha1.Backoff{Duration: "1s", Factor: &factor, MaxDuration: "5s"}}, 1, 3 * time.Second, true},
		{"own most", v1alpha1.RetryStrategy{Limit: 5, Backoff: &v1alpha1.Backoff{Duration: "1s", Factor: &factor, MaxDuration: "5s"}}, 2, 5 * time.Second, true},
	} {
		got, again := sync.RetryAfter(tt.r, tt.done)
		if got != tt.want || again != tt.again {
			t.Errorf("%s: %v %v, want %v %v", tt.name, got, again, tt.want, tt.again)
		}
	}
	zero := int64(0)
	for _, b := range []v1alpha1.Backoff{{Duration: "soon"}, {MaxDuration: "-1s"}, {Factor: &zero}} {
		if sync.CheckRetry(v1alpha1.RetryStrategy{Backoff: &b}) == nil {
			t.Errorf("%+v was taken", b)
		}
	}
}
