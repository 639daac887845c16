package application

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
)

// refreshTime bounds one refresh.
const refreshTime = 2 * time.Minute

// refresh compares one Application if there is a reason to.
func (c *Controller) refresh(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, refreshTime)
	defer cancel()
	asked := c.take(name)
	err := c.refreshAt(ctx, name, asked)
	if apierrors.IsConflict(err) { // somebody changed it meanwhile: look again
		c.ask(name, max(asked, levelRecent))
		return nil
	}
	if err != nil {
		c.mu.Lock()
		s := c.stateOf(name)
		s.asked = max(s.asked, asked)
		c.mu.Unlock()
		if c.refreshes.NumRequeues(name) >= patience {
			c.confess(ctx, name, err)
		}
	}
	return err
}

// patience is how many failures of ours in a row are nobody's business.
const patience = 3

// confess tells in the status that comparing goes on failing, and why. What is
// known of the objects stays.
func (c *Controller) confess(ctx context.Context, name string, failure error) {
	u, err := c.read(ctx, name)
	if err != nil {
		return
	}
	app, _, err := v1alpha1.DecodeApplication(u)
	if err != nil || app.DeletionTimestamp != nil {
		return
	}
	up := begin(app)
	up.status.Sync.Status = v1alpha1.SyncStatusUnknown
	up.add(v1alpha1.ConditionComparisonError, failure.Error())
	up.keepTimes(app.Status.Conditions, c.now())
	if err := c.writeStatus(ctx, u, up); err != nil {
		c.log.Debug("tell of a failed comparison", "application", name, "error", err)
	}
}

func (c *Controller) refreshAt(ctx context.Context, name string, asked level) error {
	u, err := c.read(ctx, name)
	if apierrors.IsNotFound(err) {
		c.forget(name)
		return nil
	}
	if err != nil {
		return err
	}
	app, unserved, err := v1alpha1.DecodeApplication(u)
	if err != nil {
		return c.writeStatus(ctx, u, invalid(&v1alpha1.Application{}, []string{err.Error()}, c.now()))
	}
	if app.DeletionTimestamp != nil {
		return c.finalize(ctx, u, app)
	}
	// The next status may tell of another state.
	if err := c.recordDeployments(ctx, app); err != nil {
		return err
	}
	now := c.now()
	l := need(app, asked, now, c.o.Resync)
	if l == levelNone {
		c.askAfter(name, c.untilResync(app, now))
		return nil
	}
	up, err := c.examine(ctx, app, unserved, l)
	if err != nil {
		return err
	}
	if l >= levelLatest {
		t := metav1.NewTime(now)
		up.status.ReconciledAt = &t
	}
	if err := c.writeStatus(ctx, u, up); err != nil {
		return err
	}
	written := *app
	written.Status = up.status
	if err := c.recordDeployments(ctx, &written); err != nil {
		return err
	}
	if app.Operation != nil && l >= levelLatest {
		c.operations.Add(name) // it may be superseded
	}
	if up.again > 0 {
		c.mu.Lock()
		c.stateOf(name).asked = max(c.stateOf(name).asked, levelLatest)
		c.mu.Unlock()
		c.askAfter(name, up.again)
	}
	c.askAfter(name, c.resyncAfter())
	return nil
}

// read returns the Application as the API server has it. One that is not ours
// does not exist.
func (c *Controller) read(ctx context.Context, name string) (*unstructured.Unstructured, error) {
	u, err := c.cluster.Dynamic.Resource(v1alpha1.Applications).Namespace(c.o.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err == nil && c.foreign && u.GetLabels()[LabelManaged] != "true" {
		return nil, apierrors.NewNotFound(v1alpha1.Applications.GroupResource(), name)
	}
	return u, err
}

func (c *Controller) untilResync(app *v1alpha1.Application, now time.Time) time.Duration {
	if app.Status.ReconciledAt == nil {
		return c.o.Resync
	}
	return max(left(app.Status.ReconciledAt.Time, c.o.Resync, now), time.Second)
}

// need says how thorough a refresh app needs, if any.
func need(app *v1alpha1.Application, asked level, now time.Time, resync time.Duration) level {
	compared := app.Status.Sync.ComparedTo
	switch refresh := app.Annotations[v1alpha1.AnnotationRefresh]; {
	case refresh == "hard":
		return levelHard
	case refresh != "":
		return max(asked, levelLatest)
	case app.Status.Sync.Status == "":
		return max(asked, levelLatest)
	case app.Spec.Source != nil && !reflect.DeepEqual(*app.Spec.Source, compared.Source):
		return levelHard
	case app.Spec.Destination != compared.Destination:
		return max(asked, levelLatest)
	case app.Status.ReconciledAt == nil || left(app.Status.ReconciledAt.Time, resync, now) == 0:
		return max(asked, levelLatest)
	}
	return asked
}

// examine compares app and decides what follows.
func (c *Controller) examine(ctx context.Context, app *v1alpha1.Application, unserved []string, l level) (*update, error) {
	bad := checkSpec(app.Spec, unserved)
	p, problems, err := c.project(app)
	if err != nil {
		return nil, err
	}
	if bad = append(bad, problems...); len(bad) > 0 {
		return invalid(app, bad, c.now()), nil
	}
	commit, err := c.resolve(ctx, app, l)
	if err == nil {
		if l == levelHard {
			c.mu.Lock()
			c.stateOf(app.Name).differ.Forget()
			c.mu.Unlock()
		}
		var cmp *comparison
		if cmp, err = c.compareAt(ctx, app, p, *app.Spec.Source, commit); err == nil {
			return compared(app, cmp, c.now(), c.o.IngressPort), nil
		}
	}
	var f *fault
	if !errors.As(err, &f) {
		return nil, err
	}
	resources, err := c.orphaned(ctx, app)
	if err != nil {
		return nil, err
	}
	return faulty(app, f, commit, resources, c.now(), c.o.IngressPort), nil
}

// resolve returns the commit to compare with.
func (c *Controller) resolve(ctx context.Context, app *v1alpha1.Application, l level) (string, error) {
	if known := app.Status.Sync.Revision; l <= levelRecent && known != "" {
		return known, nil
	}
	return c.resolveSource(ctx, *app.Spec.Source, app.Spec.Source.TargetRevision)
}

func (c *Controller) resolveSource(ctx context.Context, src v1alpha1.Source, revision string) (string, error) {
	if revision == "" {
		revision = "HEAD"
	}
	commit, err := c.checkouts.Resolve(ctx, src.RepoURL, revision)
	if err != nil {
		return "", sourceFault(err)
	}
	return commit, nil
}

// project returns the project of app and what it forbids.
func (c *Controller) project(app *v1alpha1.Application) (*v1alpha1.AppProject, []string, error) {
	name := app.Spec.Project
	if name == "" {
		name = v1alpha1.DefaultProject
	}
	o, ok, err := c.projects.GetStore().GetByKey(c.o.Namespace + "/" + name)
	if err != nil {
		return nil, nil, err
	}
	if !ok {
		return nil, []string{fmt.Sprintf("application references project %s which does not exist", name)}, nil
	}
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return nil, nil, fmt.Errorf("project %s is a %T", name, o)
	}
	p, unserved, err := v1alpha1.DecodeProject(u)
	if err != nil {
		return nil, []string{err.Error()}, nil //nolint:nilerr // what is wrong with a project is told, not tried again
	}
	return p, checkProject(p, unserved, app.Spec), nil
}
