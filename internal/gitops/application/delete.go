package application

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/gitops/compare"
)

// deletionPoll is how soon a deletion that waits is looked at again when no
// event comes first.
const deletionPoll = 5 * time.Second

// finalize deletes what an Application that is being deleted manages, if its
// finalizers ask for that, and lets it go.
func (c *Controller) finalize(ctx context.Context, u *unstructured.Unstructured, app *v1alpha1.Application) error {
	policy, asked := cascade(app.Finalizers)
	if !asked {
		return nil
	}
	turn := c.turnOf(app.Name)
	if !turn.TryLock() { // a sync is just writing; it ends when it sees the deletion
		c.askAfter(app.Name, time.Second)
		return nil
	}
	defer turn.Unlock()
	objects, err := c.snapshot(ctx, app, nil)
	if err != nil {
		return err
	}
	wave, left := lastWave(app, objects)
	for _, o := range wave {
		if o.GetDeletionTimestamp() != nil {
			continue
		}
		client, err := c.cluster.Client(o)
		if meta.IsNoMatchError(err) {
			continue
		}
		if err != nil {
			return err
		}
		uid := o.GetUID()
		err = client.Delete(ctx, o.GetName(), metav1.DeleteOptions{PropagationPolicy: &policy, Preconditions: &metav1.Preconditions{UID: &uid}})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("delete %s: %w", compare.KeyOf(o), err)
		}
	}
	if left {
		c.askAfter(app.Name, deletionPoll)
		return nil
	}
	if err := c.recordRemoval(ctx, app); err != nil {
		return err
	}
	rest := slices.DeleteFunc(slices.Clone(app.Finalizers), isCascade)
	_, err = c.patch(ctx, app.Name, map[string]any{"metadata": map[string]any{
		"resourceVersion": u.GetResourceVersion(), "finalizers": rest,
	}})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// lastWave returns the objects that go first, those of the highest wave; left
// says whether any object is left at all.
func lastWave(app *v1alpha1.Application, objects []*unstructured.Unstructured) (wave []*unstructured.Unstructured, left bool) {
	highest := 0
	for _, o := range objects {
		k := compare.KeyOf(o)
		self := k.Group == v1alpha1.Group && k.Kind == "Application" && k.Namespace == app.Namespace && k.Name == app.Name
		opts, _ := compare.OptionsOf(o)
		if self || opts.NoDelete || compare.Owner(o) != app.Name || len(o.GetOwnerReferences()) > 0 {
			continue
		}
		switch {
		case !left || opts.Wave > highest:
			highest, wave = opts.Wave, nil
		case opts.Wave < highest:
			continue
		}
		left = true
		wave = append(wave, o)
	}
	return wave, left
}

// cascade says whether and how finalizers ask to delete managed objects.
func cascade(finalizers []string) (metav1.DeletionPropagation, bool) {
	for _, f := range finalizers {
		switch f {
		case v1alpha1.FinalizerResources, v1alpha1.FinalizerResources + "/foreground":
			return metav1.DeletePropagationForeground, true
		case v1alpha1.FinalizerResourcesBackground:
			return metav1.DeletePropagationBackground, true
		}
	}
	return "", false
}

func isCascade(f string) bool {
	_, ok := cascade([]string{f})
	return ok
}
