package application

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/base/id"
)

// Recorder puts events into the event log, each once by its id.
type Recorder interface {
	Record(ctx context.Context, id, typ, subject string, at time.Time, data any) error
}

// deployment is an event about an Application, with its place in the history.
type deployment struct {
	id, typ string
	service event.Service
}

// deployments are the events that the status of an Application tells of. They
// are the same whenever it is read, so the log, which keeps the first of each
// id, has each sync once whatever was missed or seen twice.
//
// What images an entry of the history brought is known as long as the cluster
// is seen to be as that entry says. So the newest entry waits for that, or for
// the next one.
func deployments(app *v1alpha1.Application) []deployment {
	var out []deployment
	for i, h := range app.Status.History {
		newest := i == len(app.Status.History)-1
		settled := app.Status.Sync.Status == v1alpha1.SyncStatusSynced && app.Status.Sync.Revision == h.Revision
		if newest && !settled {
			continue
		}
		s := service(app)
		s.History, s.Source, s.Revision, s.At = h.ID, h.Source.RepoURL, h.Revision, h.DeployedAt.UTC()
		if s.Initiator = h.InitiatedBy.Username; h.InitiatedBy.Automated {
			s.Initiator = "automated"
		}
		if newest {
			s.Images = app.Status.Summary.Images
		}
		typ := event.TypeServiceUpgraded
		if h.ID == 0 {
			typ = event.TypeServiceDeployed
		}
		out = append(out, deployment{id.Of("service", string(app.UID), strconv.FormatInt(h.ID, 10)), typ, s})
	}
	return out
}

func service(app *v1alpha1.Application) event.Service {
	environment := app.Spec.Destination.Cluster()
	if ns := app.Spec.Destination.Namespace; ns != "" {
		environment += "/" + ns
	}
	return event.Service{Application: app.Namespace + "/" + app.Name, UID: string(app.UID), Environment: environment}
}

// recorded is how far the history of an Application is in the log.
type recorded struct {
	uid  types.UID
	next int64 // id of the first entry that is not
}

// recordDeployments writes what the status tells of, as far as this process
// has not done so.
func (c *Controller) recordDeployments(ctx context.Context, app *v1alpha1.Application) error {
	if c.o.Events == nil {
		return nil
	}
	c.mu.Lock()
	done := c.stateOf(app.Name).recorded
	c.mu.Unlock()
	if done.uid != app.UID {
		done = recorded{uid: app.UID}
	}
	for _, d := range deployments(app) {
		if d.service.History < done.next {
			continue
		}
		if err := c.o.Events.Record(ctx, d.id, d.typ, d.service.Application, d.service.At, d.service); err != nil {
			return fmt.Errorf("record a deployment: %w", err)
		}
		done.next = d.service.History + 1
	}
	c.mu.Lock()
	c.stateOf(app.Name).recorded = done
	c.mu.Unlock()
	return nil
}

// recordRemoval writes that what an Application managed is gone. An
// Application that never deployed anything removes nothing.
func (c *Controller) recordRemoval(ctx context.Context, app *v1alpha1.Application) error {
	if c.o.Events == nil || len(app.Status.History) == 0 {
		return nil
	}
	s := service(app)
	last := app.Status.History[len(app.Status.History)-1]
	s.History, s.Source, s.Revision, s.At = last.ID, last.Source.RepoURL, last.Revision, c.now().UTC()
	if err := c.o.Events.Record(ctx, id.Of("service removed", string(app.UID)), event.TypeServiceRemoved, s.Application, s.At, s); err != nil {
		return fmt.Errorf("record a removal: %w", err)
	}
	return nil
}
