package application

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/base/failpoint"
	"github.com/penstock-dev/penstock/internal/gitops/compare"
	"github.com/penstock-dev/penstock/internal/gitops/sync"
)

const (
	// operateTime bounds one turn of an operation.
	operateTime = 5 * time.Minute
	// waitPoll is how soon an operation that waits is looked at again when no
	// event comes first.
	waitPoll = 10 * time.Second
	// historyLimit is how many syncs the status remembers.
	historyLimit = 10
)

// operate carries on with the operation of one Application, if there is one.
//
// The record goes first: operationState says Running before anything is
// written to the cluster, and one patch ends it: it sets the phase, appends to
// the history and removes the operation. A crash in between leaves a Running
// operation, which is carried on with the results that it recorded; one
// operation ends once.
func (c *Controller) operate(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, operateTime)
	defer cancel()
	turn := c.turnOf(name)
	turn.Lock()
	defer turn.Unlock()
	u, err := c.read(ctx, name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	app, unserved, err := v1alpha1.DecodeApplication(u)
	if err != nil || app.Operation == nil || app.DeletionTimestamp != nil {
		return nil // the refresh sees to it
	}
	r := &run{c: c, app: app, now: c.now()}
	r.resume()
	err = r.proceed(ctx, unserved)
	if apierrors.IsConflict(err) {
		c.operations.Add(name)
		return nil
	}
	if err != nil && r.begun && c.operations.NumRequeues(name) >= patience {
		return errors.Join(err, r.save(ctx, "trying again: "+err.Error()))
	}
	return err
}

// run is one turn of an operation.
type run struct {
	c     *Controller
	app   *v1alpha1.Application
	state v1alpha1.OperationState
	begun bool // the state is in the API server
	now   time.Time
}

// resume takes up the state of the operation, or begins one.
func (r *run) resume() {
	if s := r.app.Status.OperationState; s != nil && !v1alpha1.Completed(s.Phase) {
		r.state, r.begun = *s, true
		return
	}
	r.state = v1alpha1.OperationState{Operation: *r.app.Operation, Phase: v1alpha1.PhaseRunning, StartedAt: metav1.NewTime(r.now)}
}

func (r *run) proceed(ctx context.Context, unserved []string) error {
	switch {
	case r.state.Phase == v1alpha1.PhaseTerminating:
		return r.end(ctx, v1alpha1.PhaseFailed, "Operation terminated")
	case r.state.FinishedAt != nil: // failed before, to be tried again
		if newer, err := r.superseded(ctx); newer != "" || err != nil {
			return r.give(ctx, newer, err)
		}
		if wait := left(r.state.FinishedAt.Time, r.retryWait(), r.now); wait > 0 {
			r.c.operations.AddAfter(r.app.Name, wait)
			return nil
		}
		r.restart()
	}
	if bad := checkOperation(r.state.Operation, unserved); bad != "" {
		return r.end(ctx, v1alpha1.PhaseError, bad)
	}
	err := r.sync(ctx)
	var f *fault
	if errors.As(err, &f) {
		return r.end(ctx, v1alpha1.PhaseError, f.message)
	}
	return err
}

// superseded returns the commit that an automated sync should bring instead of
// the one it cannot get through: a newer commit is not held up by a bad one.
func (r *run) superseded(ctx context.Context) (string, error) {
	op, src := r.state.Operation, r.app.Spec.Source
	if !op.InitiatedBy.Automated || op.Sync == nil || src == nil || r.state.SyncResult == nil {
		return "", nil
	}
	commit, err := r.c.resolveSource(ctx, *src, src.TargetRevision)
	var f *fault
	if errors.As(err, &f) || commit == r.state.SyncResult.Revision {
		return "", nil
	}
	return commit, err
}

// give ends the operation in favour of a newer commit.
func (r *run) give(ctx context.Context, newer string, err error) error {
	if err != nil {
		return err
	}
	r.state.Operation.Retry = v1alpha1.RetryStrategy{}
	return r.end(ctx, v1alpha1.PhaseFailed, fmt.Sprintf("%s. Superseded by commit %s.", r.state.Message, newer))
}

// restart makes the state of a failed try that of the next one.
func (r *run) restart() {
	r.state.FinishedAt = nil
	r.state.SyncResult = nil
	r.state.Message = ""
	if r.state.Operation.Retry.Refresh && r.state.Operation.Sync != nil {
		op := *r.state.Operation.Sync
		op.Revision = ""
		r.state.Operation.Sync = &op
	}
	r.begun = false
	r.c.setSyncer(r.app.Name, "", nil)
}

func (r *run) retryWait() time.Duration {
	d, _ := sync.RetryAfter(withoutLimit(r.state.Operation.Retry), r.state.RetryCount-1)
	return d
}

func withoutLimit(s v1alpha1.RetryStrategy) v1alpha1.RetryStrategy {
	s.Limit = -1
	return s
}

// sync carries on with a sync until it has to wait or has ended.
func (r *run) sync(ctx context.Context) error {
	op := r.state.Operation.Sync
	src := r.app.Spec.Source
	if op.Source != nil {
		src = op.Source
	}
	p, err := r.allowed(src)
	if err != nil {
		return err
	}
	commit, err := r.commit(ctx, op, *src)
	if err != nil {
		return err
	}
	if r.state.SyncResult == nil {
		r.state.SyncResult = &v1alpha1.SyncResult{Revision: commit, Source: *src}
	}
	if !r.begun {
		failpoint.Hit("gitops.operation.begin.before")
		if err := r.save(ctx, "syncing"); err != nil {
			return err
		}
		failpoint.Hit("gitops.operation.begin.after")
	}
	cmp, err := r.c.compareAt(ctx, r.app, p, *src, commit)
	if err != nil {
		return err
	}
	opts, tasks, err := r.plan(op, cmp)
	if err != nil {
		return err
	}
	s := r.c.syncerOf(r.app.Name, r.identity(), opts)
	results := resultsOf(r.state.SyncResult)
	if len(results) == 0 {
		done, err := r.prepare(ctx, s, opts, tasks)
		if done || err != nil {
			return err
		}
	}
	return r.steps(ctx, s, tasks, results, liveOf(cmp))
}

// identity tells this try of this operation from others.
func (r *run) identity() string {
	return fmt.Sprintf("%s/%s/%d", r.app.UID, r.state.StartedAt.UTC(), r.state.RetryCount)
}

// allowed checks the spec as a refresh does: an operation must not pass what
// that refuses.
func (r *run) allowed(src *v1alpha1.Source) (*v1alpha1.AppProject, error) {
	if src == nil {
		return nil, &fault{v1alpha1.ConditionInvalidSpecError, "spec.source is missing"}
	}
	checked := *r.app
	checked.Spec.Source = src
	bad := checkSpec(checked.Spec, nil)
	p, problems, err := r.c.project(&checked)
	if err != nil {
		return nil, err
	}
	if bad = append(bad, problems...); len(bad) > 0 {
		return nil, &fault{v1alpha1.ConditionInvalidSpecError, fmt.Sprintf("application spec is invalid: %s", bad[0])}
	}
	return p, nil
}

var wholeCommit = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)

// commit returns the commit that the operation brings, the same one for as
// long as it runs.
func (r *run) commit(ctx context.Context, op *v1alpha1.SyncOperation, src v1alpha1.Source) (string, error) {
	switch {
	case r.state.SyncResult != nil && r.state.SyncResult.Revision != "":
		return r.state.SyncResult.Revision, nil
	case wholeCommit.MatchString(op.Revision):
		return op.Revision, nil
	case op.Revision != "":
		return r.c.resolveSource(ctx, src, op.Revision)
	}
	return r.c.resolveSource(ctx, src, src.TargetRevision)
}

func (r *run) plan(op *v1alpha1.SyncOperation, cmp *comparison) (sync.Options, []sync.Task, error) {
	list := op.SyncOptions
	if list == nil && r.app.Spec.SyncPolicy != nil {
		list = r.app.Spec.SyncPolicy.SyncOptions
	}
	opts, bad := sync.ParseOptions(list)
	if len(bad) > 0 {
		return opts, nil, &fault{v1alpha1.ConditionSyncError, fmt.Sprintf("sync options are not served by this version: %v", bad)}
	}
	opts.Prune, opts.DryRun = op.Prune, op.DryRun
	resources := cmp.resources
	if len(op.Resources) > 0 {
		resources = slices.DeleteFunc(slices.Clone(resources), func(x compare.Resource) bool { return !selected(op.Resources, x.Key) })
	}
	for _, x := range resources {
		if x.Shared != "" && opts.FailOnShared {
			return opts, nil, &fault{v1alpha1.ConditionSyncError, fmt.Sprintf("%s is part of application %s too (FailOnSharedResource)", x.Key, x.Shared)}
		}
	}
	return opts, sync.Plan(resources, opts), nil
}

func selected(list []v1alpha1.SyncResource, k compare.Key) bool {
	return slices.ContainsFunc(list, func(s v1alpha1.SyncResource) bool {
		return s.Group == k.Group && s.Kind == k.Kind && s.Name == k.Name && (s.Namespace == "" || s.Namespace == k.Namespace)
	})
}

// prepare makes the namespace and asks the API server whether it would take
// every object, before the first is written.
func (r *run) prepare(ctx context.Context, s *sync.Syncer, opts sync.Options, tasks []sync.Task) (done bool, err error) {
	ns := r.app.Spec.Destination.Namespace
	if opts.CreateNamespace && ns != "" && !opts.DryRun && !slices.ContainsFunc(tasks, func(t sync.Task) bool { return t.Kind == "Namespace" && t.Group == "" && t.Name == ns }) {
		if err := s.EnsureNamespace(ctx, ns); err != nil {
			return false, err
		}
	}
	refused, err := s.Check(ctx, tasks)
	if err != nil {
		return false, err
	}
	if len(refused) > 0 {
		r.record(tasks, refused)
		return true, r.end(ctx, v1alpha1.PhaseFailed, fmt.Sprintf("one or more objects failed to apply (dry run), nothing was changed: %s", reasons(tasks, refused)))
	}
	if opts.DryRun {
		return true, r.end(ctx, v1alpha1.PhaseSucceeded, "successfully synced (dry run, nothing was changed)")
	}
	return false, nil
}

// steps runs wave after wave, recording each.
func (r *run) steps(ctx context.Context, s *sync.Syncer, tasks []sync.Task, results map[compare.Key]sync.Result, watched map[compare.Key]*unstructured.Unstructured) error {
	for {
		seen, err := s.Look(ctx, tasks, results, watched)
		if err != nil {
			return err
		}
		next := sync.Next(tasks, results, func(k compare.Key) sync.Seen { return seen[k] })
		switch {
		case next.Done != "":
			r.record(tasks, results)
			return r.end(ctx, next.Done, next.Message)
		case next.Wait != "":
			r.record(tasks, results)
			if newer, err := r.superseded(ctx); newer != "" || err != nil {
				r.state.Message = next.Wait
				return r.give(ctx, newer, err)
			}
			r.c.operations.AddAfter(r.app.Name, waitPoll)
			return r.save(ctx, next.Wait)
		}
		if r.app.DeletionTimestamp != nil {
			return nil
		}
		failpoint.Hit("gitops.sync.wave.before")
		done, err := s.Run(ctx, next.Run)
		for k, res := range done {
			results[k] = res
		}
		r.c.raise(r.app.Name, s.Written(), next.Run, done)
		if err != nil {
			r.record(tasks, results)
			return errors.Join(err, r.save(ctx, "syncing: "+err.Error()))
		}
		failpoint.Hit("gitops.sync.wave.after")
		r.record(tasks, results)
		if pendingAfter(tasks, results) {
			if err := r.save(ctx, "syncing"); err != nil {
				return err
			}
		}
	}
}

func pendingAfter(tasks []sync.Task, results map[compare.Key]sync.Result) bool {
	return slices.ContainsFunc(tasks, func(t sync.Task) bool { _, done := results[t.Key]; return !done })
}

// end ends the operation, or this try of it.
func (r *run) end(ctx context.Context, phase, message string) error {
	finished := metav1.NewTime(r.c.now())
	r.state.FinishedAt = &finished
	r.state.Message = message
	terminated := r.state.Phase == v1alpha1.PhaseTerminating
	if phase != v1alpha1.PhaseSucceeded && !terminated {
		if wait, again := sync.RetryAfter(r.state.Operation.Retry, r.state.RetryCount); again {
			r.state.RetryCount++
			r.state.Message = fmt.Sprintf("%s. Retrying attempt #%d at %s.", message, r.state.RetryCount, finished.Add(wait).Format(time.Kitchen))
			r.c.operations.AddAfter(r.app.Name, wait)
			return r.save(ctx, r.state.Message)
		}
		if r.state.RetryCount > 0 {
			r.state.Message = fmt.Sprintf("%s (retried %d times).", message, r.state.RetryCount)
		}
	}
	r.state.Phase = phase
	failpoint.Hit("gitops.operation.end.before")
	if err := r.conclude(ctx, finished); err != nil {
		return fmt.Errorf("end the operation: %w", err)
	}
	failpoint.Hit("gitops.operation.end.after")
	r.c.setSyncer(r.app.Name, "", nil)
	r.c.log.Info("sync ended", "application", r.app.Name, "phase", phase, "revision", revisionOf(r.state), "message", r.state.Message)
	if r.c.o.Synced != nil {
		r.c.o.Synced(r.app, r.state)
	}
	l := levelHard
	if r.state.Operation.InitiatedBy.Automated {
		l = levelLatest
	}
	r.c.ask(r.app.Name, l)
	return nil
}

// conclude writes the end. Refreshes write to the same object, so a conflict is
// tried again, unless somebody asked for another operation or for this one to
// stop.
func (r *run) conclude(ctx context.Context, finished metav1.Time) error {
	const tries = 10
	for i := 0; ; i++ {
		patch, err := r.statePatch()
		if err != nil {
			return err
		}
		if h := r.history(finished); h != nil {
			list, err := toList(h)
			if err != nil {
				return err
			}
			patch["status"].(map[string]any)["history"] = list
		}
		patch["operation"] = nil
		err = r.write(ctx, patch)
		if !apierrors.IsConflict(err) || i == tries {
			return err
		}
		u, readErr := r.c.read(ctx, r.app.Name)
		if readErr != nil {
			return readErr
		}
		app, _, decodeErr := v1alpha1.DecodeApplication(u)
		if decodeErr != nil || !sameOperation(r.app, app) {
			return err
		}
		r.app = app
	}
}

// sameOperation says whether b still has the operation of a, in the same state.
func sameOperation(a, b *v1alpha1.Application) bool {
	x, y := a.Status.OperationState, b.Status.OperationState
	if x != nil && y != nil && x.Phase != y.Phase || (x == nil) != (y == nil) {
		return false
	}
	return reflect.DeepEqual(a.Operation, b.Operation)
}

func revisionOf(s v1alpha1.OperationState) string {
	if s.SyncResult == nil {
		return ""
	}
	return s.SyncResult.Revision
}

// history returns the history with this sync, or nil if it does not belong
// there: only whole syncs that succeeded do.
func (r *run) history(finished metav1.Time) []v1alpha1.RevisionHistory {
	op := r.state.Operation.Sync
	if r.state.Phase != v1alpha1.PhaseSucceeded || op == nil || op.DryRun || len(op.Resources) > 0 || r.state.SyncResult == nil {
		return nil
	}
	h := slices.Clone(r.app.Status.History)
	id := int64(0)
	if len(h) > 0 {
		id = h[len(h)-1].ID + 1
	}
	started := r.state.StartedAt
	h = append(h, v1alpha1.RevisionHistory{
		ID: id, Revision: r.state.SyncResult.Revision, Source: r.state.SyncResult.Source,
		DeployStartedAt: &started, DeployedAt: finished, InitiatedBy: r.state.Operation.InitiatedBy,
	})
	limit := int64(historyLimit)
	if l := r.app.Spec.RevisionHistoryLimit; l != nil && *l >= 0 {
		limit = *l
	}
	return h[max(int64(len(h))-limit, 0):]
}
