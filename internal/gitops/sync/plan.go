package sync

import (
	"cmp"
	"math"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/gitops/compare"
)

// Task is one object to write or to delete.
type Task struct {
	compare.Key
	Version string
	Target  *unstructured.Unstructured // nil: delete
	Live    *unstructured.Unstructured
	Wave    int
	Lenient bool
	// Skip is why nothing is done, when set.
	Skip string
	// Refused is why the API server would not take Target, when set.
	Refused string
}

// Prune says whether the task deletes.
func (t Task) Prune() bool { return t.Target == nil }

// Plan returns the tasks of a sync in the order in which they run.
func Plan(resources []compare.Resource, o Options) []Task {
	var tasks []Task
	lastWave := math.MinInt
	for _, r := range resources {
		if r.Ignored() || o.OutOfSyncOnly && r.Status == v1alpha1.SyncStatusSynced {
			continue
		}
		t := Task{
			Key: r.Key, Version: r.Version, Target: r.Target, Live: r.Live,
			Wave: r.Options.Wave, Lenient: o.Lenient || r.Options.Lenient,
		}
		switch {
		case r.Refused:
			t.Refused = r.Why
		case !t.Prune():
		case r.Options.NoPrune:
			t.Skip = "ignored (no prune)"
		case !o.Prune:
			t.Skip = "ignored (requires pruning)"
		}
		tasks = append(tasks, t)
		lastWave = max(lastWave, t.Wave)
	}
	mirrorPruneWaves(tasks)
	for i, r := range tasks {
		if last := o.PruneLast || pruneLast(resources, r.Key); r.Prune() && last {
			tasks[i].Wave = lastWave + 1
		}
	}
	pullForward(tasks)
	slices.SortStableFunc(tasks, func(a, b Task) int {
		return cmp.Or(
			cmp.Compare(a.Wave, b.Wave),
			boolLast(!a.Prune(), !b.Prune()), // prune first
			cmp.Compare(kindRank(a.Kind), kindRank(b.Kind)),
			cmp.Compare(a.Kind, b.Kind),
			cmp.Compare(a.Namespace, b.Namespace),
			cmp.Compare(a.Name, b.Name),
		)
	})
	return tasks
}

func pruneLast(resources []compare.Resource, k compare.Key) bool {
	return slices.ContainsFunc(resources, func(r compare.Resource) bool { return r.Key == k && r.Options.PruneLast })
}

func boolLast(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// mirrorPruneWaves turns the waves of deletions around: what came last goes
// first.
func mirrorPruneWaves(tasks []Task) {
	var waves []int
	for _, t := range tasks {
		if t.Prune() {
			waves = append(waves, t.Wave)
		}
	}
	slices.Sort(waves)
	waves = slices.Compact(waves)
	for i, t := range tasks {
		if t.Prune() {
			at, _ := slices.BinarySearch(waves, t.Wave)
			tasks[i].Wave = waves[len(waves)-1-at]
		}
	}
}

// pullForward moves a namespace to the wave of the first object in it, and a
// definition to that of the first object of its kind.
func pullForward(tasks []Task) {
	for i, t := range tasks {
		if t.Prune() || !provides(t) {
			continue
		}
		for _, user := range tasks {
			if !user.Prune() && uses(user, t) {
				tasks[i].Wave = min(tasks[i].Wave, user.Wave)
			}
		}
	}
}

// provides says whether other objects may need t first.
func provides(t Task) bool {
	_, _, ok := defines(t)
	return ok || t.Group == "" && t.Kind == "Namespace"
}

// uses says whether user cannot be applied before t.
func uses(user, t Task) bool {
	if t.Group == "" && t.Kind == "Namespace" {
		return user.Namespace == t.Name
	}
	group, kind, ok := defines(t)
	return ok && user.Group == group && user.Kind == kind
}

// defines returns the kind that a CustomResourceDefinition defines.
func defines(t Task) (group, kind string, ok bool) {
	if t.Group != "apiextensions.k8s.io" || t.Kind != "CustomResourceDefinition" || t.Target == nil {
		return "", "", false
	}
	group, _, _ = unstructured.NestedString(t.Target.Object, "spec", "group")
	kind, _, _ = unstructured.NestedString(t.Target.Object, "spec", "names", "kind")
	return group, kind, true
}

// kinds is the order within a wave; kinds that are not here come last.
var kinds = []string{
	"Namespace", "NetworkPolicy", "ResourceQuota", "LimitRange", "PodSecurityPolicy", "PodDisruptionBudget",
	"ServiceAccount", "Secret", "SecretList", "ConfigMap", "StorageClass", "PersistentVolume",
	"PersistentVolumeClaim", "CustomResourceDefinition", "ClusterRole", "ClusterRoleList",
	"ClusterRoleBinding", "ClusterRoleBindingList", "Role", "RoleList", "RoleBinding", "RoleBindingList",
	"Service", "DaemonSet", "Pod", "ReplicationController", "ReplicaSet", "Deployment",
	"HorizontalPodAutoscaler", "StatefulSet", "Job", "CronJob", "IngressClass", "Ingress", "APIService",
}

func kindRank(kind string) int {
	if i := slices.Index(kinds, kind); i >= 0 {
		return i
	}
	return len(kinds)
}
