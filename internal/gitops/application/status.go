package application

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/gitops/compare"
	"github.com/penstock-dev/penstock/internal/gitops/health"
	"github.com/penstock-dev/penstock/internal/host/cluster"
)

// update is what a refresh found: the status to write, a sync to ask for, and
// when to look again.
type update struct {
	status    v1alpha1.ApplicationStatus
	operation *v1alpha1.Operation
	again     time.Duration
}

// begin returns an update that keeps what a refresh does not judge.
func begin(app *v1alpha1.Application) *update {
	up := &update{status: app.Status}
	up.status.Conditions = nil
	up.status.Sync.ComparedTo = v1alpha1.ComparedTo{Destination: app.Spec.Destination}
	if app.Spec.Source != nil {
		up.status.Sync.ComparedTo.Source = *app.Spec.Source
	}
	up.status.ControllerNamespace = app.Namespace
	return up
}

// invalid is the update for an Application whose spec cannot be served.
func invalid(app *v1alpha1.Application, bad []string, now time.Time) *update {
	up := begin(app)
	up.status.Sync.Status, up.status.Sync.Revision = v1alpha1.SyncStatusUnknown, ""
	up.status.Health = transition(app.Status.Health, health.Health{Status: v1alpha1.HealthUnknown}, now)
	up.add(v1alpha1.ConditionInvalidSpecError, strings.Join(bad, "; "))
	up.keepTimes(app.Status.Conditions, now)
	return up
}

// faulty is the update for an Application that could not be compared: what
// lives of it is still judged.
func faulty(app *v1alpha1.Application, f *fault, commit string, live []compare.Resource, now time.Time, port int) *update {
	up := begin(app)
	up.status.Sync.Status, up.status.Sync.Revision = v1alpha1.SyncStatusUnknown, commit
	up.judge(app, live, now, port)
	if len(live) == 0 { // nothing is known of it
		up.status.Health = transition(app.Status.Health, health.Health{Status: v1alpha1.HealthUnknown}, now)
	}
	up.add(f.condition, f.message)
	up.keepTimes(app.Status.Conditions, now)
	return up
}

// compared is the update for an Application that was compared.
func compared(app *v1alpha1.Application, cmp *comparison, now time.Time, port int) *update {
	up := begin(app)
	up.status.Sync.Status, up.status.Sync.Revision = compare.Sum(cmp.resources), cmp.revision
	up.status.SourceType = cmp.sourceType
	up.judge(app, cmp.resources, now, port)
	for _, name := range cmp.repeated {
		up.add(v1alpha1.ConditionRepeatedResourceWarning, fmt.Sprintf("%s appears several times; the last one counts", name))
	}
	for _, r := range cmp.resources {
		if r.Shared != "" {
			up.add(v1alpha1.ConditionSharedResourceWarning, fmt.Sprintf("%s is part of applications %s and %s", r.Key, app.Name, r.Shared))
		}
	}
	d := autoSync(app, cmp, up.status.Sync.Status, now)
	up.operation, up.again = d.operation, d.again
	if d.problem != "" {
		up.add(v1alpha1.ConditionSyncError, d.problem)
	}
	up.keepTimes(app.Status.Conditions, now)
	return up
}

// judge sets resources, health and summary.
func (up *update) judge(app *v1alpha1.Application, resources []compare.Resource, now time.Time, port int) {
	var judged []health.Resource
	alive := len(resources) == 0
	up.status.Resources = nil
	for _, r := range resources {
		st := v1alpha1.ResourceStatus{
			Group: r.Group, Version: r.Version, Kind: r.Kind, Namespace: r.Namespace, Name: r.Name,
			Status: r.Status, Why: r.Why, SyncWave: int64(r.Options.Wave),
			RequiresPruning: r.RequiresPruning() && r.Status != v1alpha1.SyncStatusUnknown,
		}
		switch h, ok := healthOf(r); {
		case r.Live == nil:
			st.Health = &v1alpha1.HealthStatus{Status: v1alpha1.HealthMissing}
		case ok:
			alive = true
			st.Health = &v1alpha1.HealthStatus{Status: h.Status, Message: h.Message}
			if !r.Ignored() && !r.Options.IgnoreHealthcheck {
				judged = append(judged, health.Resource{Name: r.Kind + "/" + r.Name, Health: h})
			}
		default:
			alive = true
		}
		up.status.Resources = append(up.status.Resources, st)
	}
	up.status.Health = transition(app.Status.Health, health.Worst(judged, alive), now)
	up.status.Summary = summarize(resources, port)
}

func healthOf(r compare.Resource) (health.Health, bool) {
	if r.Live == nil {
		return health.Health{}, false
	}
	return health.Of(r.Live)
}

// transition keeps the time of the last change.
func transition(old v1alpha1.HealthStatus, h health.Health, now time.Time) v1alpha1.HealthStatus {
	next := v1alpha1.HealthStatus{Status: h.Status, Message: h.Message, LastTransitionTime: old.LastTransitionTime}
	if old.Status != h.Status || old.LastTransitionTime == nil {
		t := metav1.NewTime(now)
		next.LastTransitionTime = &t
	}
	return next
}

func (up *update) add(typ, message string) {
	up.status.Conditions = append(up.status.Conditions, v1alpha1.Condition{Type: typ, Message: message})
}

// keepTimes dates the conditions: those that were there keep their times.
func (up *update) keepTimes(old []v1alpha1.Condition, now time.Time) {
	for i := range up.status.Conditions {
		n := &up.status.Conditions[i]
		for _, o := range old {
			if o.Type == n.Type && o.Message == n.Message {
				n.LastTransitionTime = o.LastTransitionTime
			}
		}
		if n.LastTransitionTime == nil {
			t := metav1.NewTime(now)
			n.LastTransitionTime = &t
		}
	}
}

// judgedFields are the fields of status that a refresh writes.
var judgedFields = []string{"resources", "sync", "health", "conditions", "reconciledAt", "sourceType", "summary", "controllerNamespace"}

// writeStatus writes what changed, removes the request for a refresh, and asks
// for the sync that is due. With a sync, nobody may have changed the
// Application since it was read.
func (c *Controller) writeStatus(ctx context.Context, u *unstructured.Unstructured, up *update) error {
	next, err := toMap(up.status)
	if err != nil {
		return err
	}
	old, _ := u.Object["status"].(map[string]any)
	status := map[string]any{}
	for _, f := range judgedFields {
		if change, ok := mergePatch(old[f], next[f]); ok {
			status[f] = change
		}
	}
	patch := map[string]any{}
	if len(status) > 0 {
		patch["status"] = status
	}
	metadata := map[string]any{}
	if _, ok := u.GetAnnotations()[v1alpha1.AnnotationRefresh]; ok {
		metadata["annotations"] = map[string]any{v1alpha1.AnnotationRefresh: nil}
	}
	if up.operation != nil {
		metadata["resourceVersion"] = u.GetResourceVersion()
		patch["operation"] = up.operation
	}
	if len(metadata) > 0 {
		patch["metadata"] = metadata
	}
	if len(patch) == 0 {
		return nil
	}
	if _, err := c.patch(ctx, u.GetName(), patch); err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	if up.operation != nil {
		c.log.Info("syncing application", "application", u.GetName(), "revision", up.operation.Sync.Revision, "reason", "automated")
		c.operations.Add(u.GetName())
	}
	return nil
}

// patch sends a merge patch to an Application.
func (c *Controller) patch(ctx context.Context, name string, patch map[string]any) (*unstructured.Unstructured, error) {
	b, err := json.Marshal(patch)
	if err != nil {
		return nil, err
	}
	return c.cluster.Dynamic.Resource(v1alpha1.Applications).Namespace(c.o.Namespace).
		Patch(ctx, name, types.MergePatchType, b, metav1.PatchOptions{FieldManager: cluster.FieldManager})
}

// toMap returns v as JSON has it.
func toMap(v any) (map[string]any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	if err := utiljson.Unmarshal(b, &out); err != nil { // whole numbers stay whole
		return nil, err
	}
	return out, nil
}

// mergePatch returns what turns old into next by a JSON merge patch; ok is
// false when nothing has to change.
func mergePatch(old, next any) (change any, ok bool) {
	if reflect.DeepEqual(old, next) {
		return nil, false
	}
	om, isMap := old.(map[string]any)
	nm, bothMaps := next.(map[string]any)
	if !isMap || !bothMaps {
		return next, true
	}
	out := map[string]any{}
	for k, v := range nm {
		if c, ok := mergePatch(om[k], v); ok {
			out[k] = c
		}
	}
	for k := range om {
		if _, ok := nm[k]; !ok {
			out[k] = nil
		}
	}
	return out, true
}
