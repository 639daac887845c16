// Package health says how well a Kubernetes object is, as Argo CD says it:
// [Of] judges one object, [Worst] a whole application. It is pure.
package health

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
)

// Health is the state of one object.
type Health struct {
	Status  string
	Message string
	// CountAs replaces Status in the health of the application, when set.
	CountAs string
}

// order is from good to bad.
var order = []string{
	v1alpha1.HealthHealthy, v1alpha1.HealthSuspended, v1alpha1.HealthProgressing,
	v1alpha1.HealthMissing, v1alpha1.HealthDegraded, v1alpha1.HealthUnknown,
}

// Worse says whether b is worse than a.
func Worse(a, b string) bool { return slices.Index(order, b) > slices.Index(order, a) }

// checks are the kinds that have a health.
var checks = map[schema.GroupKind]func(*unstructured.Unstructured) (Health, error){
	{Group: "apps", Kind: "Deployment"}:                               typed(deployment),
	{Group: "apps", Kind: "StatefulSet"}:                              typed(statefulSet),
	{Group: "apps", Kind: "DaemonSet"}:                                typed(daemonSet),
	{Group: "apps", Kind: "ReplicaSet"}:                               typed(replicaSet),
	{Kind: "Pod"}:                                                     typed(pod),
	{Kind: "PersistentVolumeClaim"}:                                   typed(claim),
	{Kind: "Service"}:                                                 typed(service),
	{Group: "batch", Kind: "Job"}:                                     typed(job),
	{Group: "batch", Kind: "CronJob"}:                                 typed(cronJob),
	{Group: "networking.k8s.io", Kind: "Ingress"}:                     typed(ingress),
	{Group: "extensions", Kind: "Ingress"}:                            typed(ingress),
	{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}:           autoscaler,
	{Group: "apiregistration.k8s.io", Kind: "APIService"}:             apiService,
	{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}: definition,
}

// typed adapts a check of a typed object.
func typed[T any](check func(*T) Health) func(*unstructured.Unstructured) (Health, error) {
	return func(u *unstructured.Unstructured) (Health, error) {
		var o T
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &o); err != nil {
			return Health{}, err
		}
		return check(&o), nil
	}
}

// Of returns the health of a live object; ok is false for kinds that have none.
func Of(u *unstructured.Unstructured) (h Health, ok bool) {
	check, ok := checks[u.GroupVersionKind().GroupKind()]
	if u.GetDeletionTimestamp() != nil {
		return Health{Status: v1alpha1.HealthProgressing, Message: pendingDeletion(u)}, true
	}
	if !ok {
		return Health{}, false
	}
	h, err := check(u)
	if err != nil {
		return Health{Status: v1alpha1.HealthUnknown, Message: fmt.Sprintf("read %s %s: %v", u.GetKind(), u.GetName(), err)}, true
	}
	return h, true
}

func pendingDeletion(u *unstructured.Unstructured) string {
	if f := u.GetFinalizers(); len(f) > 0 {
		return "Pending deletion; blocked by finalizers: " + strings.Join(f, ", ")
	}
	return "Pending deletion"
}

// Resource is one managed object, for [Worst].
type Resource struct {
	Name   string // "Deployment/web"
	Health Health
}

// Worst returns the health of an application: that of its worst object, and
// which they are. live says whether any managed object exists.
func Worst(resources []Resource, live bool) Health {
	if !live {
		return Health{Status: v1alpha1.HealthMissing}
	}
	worst := v1alpha1.HealthHealthy
	var causes []string
	for _, r := range resources {
		status := r.Health.Status
		if r.Health.CountAs != "" {
			status = r.Health.CountAs
		}
		if Worse(worst, status) {
			worst, causes = status, nil
		}
		if status == worst {
			causes = append(causes, r.Name)
		}
	}
	if worst == v1alpha1.HealthHealthy {
		return Health{Status: worst}
	}
	return Health{Status: worst, Message: "Caused by " + firstThree(causes)}
}

func firstThree(names []string) string {
	if len(names) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), len(names)-3)
	}
	return strings.Join(names, ", ")
}

func healthy(msg string) Health { return Health{Status: v1alpha1.HealthHealthy, Message: msg} }

func degraded(msg string) Health { return Health{Status: v1alpha1.HealthDegraded, Message: msg} }

func progressing(format string, args ...any) Health {
	return Health{Status: v1alpha1.HealthProgressing, Message: fmt.Sprintf(format, args...)}
}
