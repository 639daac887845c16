package application

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/gitops/compare"
	"github.com/penstock-dev/penstock/internal/gitops/sync"
)

// checkOperation says what of an operation cannot be done.
func checkOperation(op v1alpha1.Operation, unserved []string) string {
	fields := slices.DeleteFunc(slices.Clone(unserved), func(f string) bool { return !strings.HasPrefix(f, "operation.") })
	switch {
	case len(fields) > 0:
		return "not served by this version: " + strings.Join(fields, ", ")
	case op.Sync == nil:
		return "the operation has no sync, the only kind there is"
	}
	if err := sync.CheckRetry(op.Retry); err != nil {
		return err.Error()
	}
	return ""
}

// record puts results into the state, in the order of the tasks. Results of
// objects that are no tasks any more (they are deleted) stay.
func (r *run) record(tasks []sync.Task, results map[compare.Key]sync.Result) {
	if r.state.SyncResult == nil {
		return
	}
	result := *r.state.SyncResult
	listed := map[compare.Key]bool{}
	for _, t := range tasks {
		listed[t.Key] = true
	}
	var out []v1alpha1.ResourceResult
	for _, old := range result.Resources {
		if !listed[keyOf(old)] {
			out = append(out, old)
		}
	}
	for _, t := range tasks {
		res, ok := results[t.Key]
		if !ok {
			continue
		}
		out = append(out, v1alpha1.ResourceResult{
			Group: t.Group, Version: t.Version, Kind: t.Kind, Namespace: t.Namespace, Name: t.Name,
			Status: res.Status, Message: res.Message, HookPhase: res.Phase, SyncPhase: "Sync",
		})
	}
	result.Resources = out
	r.state.SyncResult = &result
}

func keyOf(r v1alpha1.ResourceResult) compare.Key {
	return compare.Key{Group: r.Group, Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}
}

// resultsOf reads what record wrote.
func resultsOf(s *v1alpha1.SyncResult) map[compare.Key]sync.Result {
	out := map[compare.Key]sync.Result{}
	for _, r := range s.Resources {
		out[keyOf(r)] = sync.Result{Status: r.Status, Message: r.Message, Phase: r.HookPhase}
	}
	return out
}

func liveOf(cmp *comparison) map[compare.Key]*unstructured.Unstructured {
	out := map[compare.Key]*unstructured.Unstructured{}
	for _, r := range cmp.resources {
		if r.Live != nil {
			out[r.Key] = r.Live
		}
	}
	return out
}

// reasons says why objects were refused.
func reasons(tasks []sync.Task, refused map[compare.Key]sync.Result) string {
	var out []string
	for _, t := range tasks {
		if r, ok := refused[t.Key]; ok {
			out = append(out, fmt.Sprintf("%s: %s", t.Key, r.Message))
		}
	}
	return strings.Join(out, "; ")
}

// save writes the state of an operation that goes on.
func (r *run) save(ctx context.Context, message string) error {
	if r.begun && r.state.Message == message && r.unchanged() {
		return nil
	}
	r.state.Message = message
	patch, err := r.statePatch()
	if err != nil {
		return err
	}
	if err := r.write(ctx, patch); err != nil {
		return fmt.Errorf("record the operation: %w", err)
	}
	r.begun = true
	return nil
}

// unchanged says whether the API server has the results of the state.
func (r *run) unchanged() bool {
	old, err1 := toMap(r.app.Status.OperationState)
	now, err2 := toMap(r.state)
	_, changed := mergePatch(old["syncResult"], now["syncResult"])
	return err1 == nil && err2 == nil && !changed
}

// statePatch returns the patch from the state in the API server to this one.
func (r *run) statePatch() (map[string]any, error) {
	next, err := toMap(r.state)
	if err != nil {
		return nil, err
	}
	old := map[string]any{}
	if r.app.Status.OperationState != nil {
		if old, err = toMap(r.app.Status.OperationState); err != nil {
			return nil, err
		}
	}
	status := map[string]any{}
	if change, ok := mergePatch(old, next); ok {
		status["operationState"] = change
	}
	return map[string]any{"status": status}, nil
}

// write sends a patch and takes over what the API server has then. Beginning
// and end are on the condition that nobody changed the Application since it
// was read; in between only this operation writes its state, and the patch
// leaves a phase alone that somebody set to Terminating.
func (r *run) write(ctx context.Context, patch map[string]any) error {
	if _, end := patch["operation"]; end || !r.begun {
		patch["metadata"] = map[string]any{"resourceVersion": r.app.ResourceVersion}
	}
	u, err := r.c.patch(ctx, r.app.Name, patch)
	if err != nil {
		return err
	}
	app, _, err := v1alpha1.DecodeApplication(u)
	if err != nil {
		return err
	}
	r.app = app
	return nil
}

// toList returns v as JSON has it.
func toList(v []v1alpha1.RevisionHistory) ([]any, error) {
	m, err := toMap(map[string]any{"l": v})
	if err != nil {
		return nil, err
	}
	l, _ := m["l"].([]any)
	return l, nil
}

// syncerOf returns the syncer of an operation under way; a new one after a
// restart or for another operation.
func (c *Controller) syncerOf(name, operation string, o sync.Options) *sync.Syncer {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stateOf(name)
	if s.syncer == nil || s.syncOf != operation {
		s.syncer, s.syncOf = sync.NewSyncer(c.cluster, o), operation
	}
	return s.syncer
}

func (c *Controller) setSyncer(name, operation string, s *sync.Syncer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.stateOf(name)
	st.syncer, st.syncOf = s, operation
}
