package compare

import (
	"context"
	"errors"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
)

// Resource is one object of an Application: as it should be, as it is, or both.
type Resource struct {
	Key
	Version string
	Target  *unstructured.Unstructured // nil: should not be
	Live    *unstructured.Unstructured // nil: is not
	Status  string                     // a sync status
	Why     string                     // what differs, in words; no secrets
	Refused bool                       // the API server would not take Target; Why says why
	Options Options
	Shared  string // another Application that the live object belongs to
}

// RequiresPruning says whether the object is there and should not be.
func (r Resource) RequiresPruning() bool { return r.Target == nil && r.Live != nil }

// Ignored says whether the object does not count for its Application.
func (r Resource) Ignored() bool { return r.Target == nil && r.Options.IgnoreExtraneous }

// Match pairs targets with live objects. live holds the objects that belong to
// app and those that have the key of a target.
func Match(app string, targets, live []*unstructured.Unstructured) []Resource {
	byKey := map[Key]*unstructured.Unstructured{}
	for _, l := range live {
		byKey[KeyOf(l)] = l
	}
	var out []Resource
	for _, t := range targets {
		k := KeyOf(t)
		r := Resource{Key: k, Version: t.GroupVersionKind().Version, Target: t, Live: byKey[k]}
		r.Options, _ = OptionsOf(t)
		if r.Live != nil {
			if owner := Owner(r.Live); owner != "" && owner != app {
				r.Shared = owner
			}
		}
		delete(byKey, k)
		out = append(out, r)
	}
	for k, l := range byKey {
		// What has an owner is its owner's to delete.
		if Owner(l) != app || len(l.GetOwnerReferences()) > 0 {
			continue
		}
		r := Resource{Key: k, Version: l.GroupVersionKind().Version, Live: l}
		r.Options, _ = OptionsOf(l)
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Resource) int { return strings.Compare(sortKey(a.Key), sortKey(b.Key)) })
	return out
}

func sortKey(k Key) string {
	return strings.Join([]string{k.Group, k.Kind, k.Namespace, k.Name}, "\x00")
}

// Verdict is what applying an object would do to the live one.
type Verdict struct {
	Why     string // what would change, in words; "" for nothing
	Refused bool   // nothing: the API server would refuse it, for the reason in Why
}

// Differ says what applying target would change about live.
type Differ interface {
	Diff(ctx context.Context, target, live *unstructured.Unstructured) (Verdict, error)
}

// parallel is how many objects are compared at the same time.
const parallel = 8

// Judge sets Status and Why of every resource.
func Judge(ctx context.Context, resources []Resource, d Differ) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i := range resources {
		r := &resources[i]
		switch {
		case r.Target == nil:
			r.Status, r.Why = v1alpha1.SyncStatusOutOfSync, "is not in the repository (any more)"
		case r.Live == nil:
			r.Status, r.Why = v1alpha1.SyncStatusOutOfSync, "is not in the cluster"
		default:
			g.Go(func() error {
				v, err := d.Diff(ctx, r.Target, r.Live)
				if err != nil {
					return errors.Join(errors.New("compare "+r.Key.String()), err)
				}
				r.Status, r.Why, r.Refused = v1alpha1.SyncStatusSynced, v.Why, v.Refused
				if v.Why != "" {
					r.Status = v1alpha1.SyncStatusOutOfSync
				}
				return nil
			})
		}
	}
	return g.Wait()
}

// Sum returns the sync status of an Application with these resources.
func Sum(resources []Resource) string {
	for _, r := range resources {
		if r.Status != v1alpha1.SyncStatusSynced && !r.Ignored() {
			return v1alpha1.SyncStatusOutOfSync
		}
	}
	return v1alpha1.SyncStatusSynced
}
