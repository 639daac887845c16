package application

import (
	"fmt"
	"math"
	"reflect"
	"time"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/gitops/compare"
)

// Self-heal waits longer after each attempt at one revision.
const (
	healFirst  = 2 * time.Second
	healFactor = 3
	healMost   = 300 * time.Second
)

// automatedRetries is how often an automated sync is tried again when the
// Application does not say.
const automatedRetries = 5

// decision is whether to sync without being asked.
type decision struct {
	operation *v1alpha1.Operation
	problem   string        // why not, for people
	again     time.Duration // when to decide again
}

// autoSync decides whether an Application that was compared is to be synced.
func autoSync(app *v1alpha1.Application, cmp *comparison, status string, now time.Time) decision {
	policy := app.Spec.SyncPolicy
	if !policy.On() || app.Operation != nil || app.DeletionTimestamp != nil || status != v1alpha1.SyncStatusOutOfSync {
		return decision{}
	}
	var off []compare.Resource
	wiped, onlyPrune := len(cmp.resources) > 0, true
	for _, r := range cmp.resources {
		wiped = wiped && r.RequiresPruning()
		// What is being deleted needs no second deletion.
		if r.Status == v1alpha1.SyncStatusSynced || r.Ignored() || r.RequiresPruning() && (r.Live.GetDeletionTimestamp() != nil || r.Options.NoPrune) {
			continue
		}
		off = append(off, r)
		onlyPrune = onlyPrune && r.RequiresPruning()
	}
	if len(off) == 0 || onlyPrune && !policy.Automated.Prune {
		return decision{}
	}
	op := &v1alpha1.Operation{
		Sync: &v1alpha1.SyncOperation{
			Revision: cmp.revision, Source: app.Spec.Source,
			Prune: policy.Automated.Prune, SyncOptions: policy.SyncOptions,
		},
		InitiatedBy: v1alpha1.InitiatedBy{Automated: true},
		Retry:       v1alpha1.RetryStrategy{Limit: automatedRetries},
	}
	if policy.Retry != nil {
		op.Retry = *policy.Retry
	}
	if attempted, failed := attempted(app, cmp.revision); attempted {
		last := app.Status.OperationState
		switch {
		case failed:
			return decision{problem: fmt.Sprintf("Failed last sync attempt to %s: %s", cmp.revision, last.Message)}
		case !policy.Automated.SelfHeal:
			return decision{}
		}
		n := int64(0)
		if last.Operation.Sync != nil {
			n = last.Operation.Sync.AutoHealAttemptsCount
		}
		if wait := healWait(last, n, now); wait > 0 {
			return decision{again: wait}
		}
		op.Sync.AutoHealAttemptsCount = n + 1
		for _, r := range off {
			op.Sync.Resources = append(op.Sync.Resources, v1alpha1.SyncResource{Group: r.Group, Kind: r.Kind, Namespace: r.Namespace, Name: r.Name})
		}
	}
	if wiped && policy.Automated.Prune && !policy.Automated.AllowEmpty {
		return decision{problem: fmt.Sprintf("Skipping sync attempt to %s: auto-sync will wipe out all resources", cmp.revision)}
	}
	return decision{operation: op}
}

// attempted says whether the last operation was a sync to the same revision
// and source, and whether it failed.
func attempted(app *v1alpha1.Application, revision string) (attempted, failed bool) {
	last := app.Status.OperationState
	if last == nil || !v1alpha1.Completed(last.Phase) || last.Operation.Sync == nil || last.Operation.Sync.DryRun {
		return false, false
	}
	failed = last.Phase != v1alpha1.PhaseSucceeded
	if last.SyncResult == nil {
		return last.Operation.Sync.Revision == revision, failed
	}
	same := last.SyncResult.Revision == revision && app.Spec.Source != nil && reflect.DeepEqual(last.SyncResult.Source, *app.Spec.Source)
	return same, failed
}

// healWait says how long to wait before attempt n+1, counted from the end of
// the last operation.
func healWait(last *v1alpha1.OperationState, n int64, now time.Time) time.Duration {
	if n == 0 || last.FinishedAt == nil {
		return 0
	}
	wait := time.Duration(min(float64(healFirst)*math.Pow(healFactor, float64(n-1)), float64(healMost)))
	return left(last.FinishedAt.Time, wait, now)
}

// left says how much is left of a wait that began at since. A clock that was
// set back must not make it longer than it is.
func left(since time.Time, wait time.Duration, now time.Time) time.Duration {
	return min(max(since.Add(wait).Sub(now), 0), wait)
}
