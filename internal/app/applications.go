package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/face/api"
	"github.com/penstock-dev/penstock/internal/gitops/ask"
	"github.com/penstock-dev/penstock/internal/host/access"
	"github.com/penstock-dev/penstock/internal/host/cluster"
	"github.com/penstock-dev/penstock/internal/host/identity"
)

// appFace shows Applications to the API: it acts on the cluster as whoever
// asks.
type appFace struct{ reviewer *access.Reviewer }

func (f appFace) client(by identity.Principal, namespace string) (dynamic.ResourceInterface, error) {
	config, err := f.reviewer.As(by)
	if err != nil {
		return nil, noCluster{err}
	}
	c, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return c.Resource(v1alpha1.Applications).Namespace(namespace), nil
}

// appTime bounds a request to the API server.
const appTime = 15 * time.Second

func (f appFace) List(ctx context.Context, by identity.Principal, namespace string) ([]api.Application, error) {
	c, err := f.client(by, namespace)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, appTime)
	defer cancel()
	list, err := c.List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, appProblem("list applications", err)
	}
	all := make([]api.Application, 0, len(list.Items))
	for i := range list.Items {
		a, err := showApp(&list.Items[i])
		if err != nil {
			return nil, err
		}
		a.Resources, a.History = nil, nil
		all = append(all, a)
	}
	return all, nil
}

func (f appFace) Get(ctx context.Context, by identity.Principal, namespace, name string) (api.Application, error) {
	c, err := f.client(by, namespace)
	if err != nil {
		return api.Application{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, appTime)
	defer cancel()
	u, err := c.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return api.Application{}, appProblem("application "+name, err)
	}
	return showApp(u)
}

func (f appFace) Sync(ctx context.Context, by identity.Principal, namespace, name string, s api.NewSync) (api.Asked, error) {
	c, err := f.client(by, namespace)
	if err != nil {
		return api.Asked{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, appTime)
	defer cancel()
	request, err := ask.Sync(ctx, c, "penstock-api", name, by.Name, v1alpha1.SyncOperation{Revision: s.Revision, Prune: s.Prune, DryRun: s.DryRun})
	if errors.Is(err, ask.ErrBusy) {
		return api.Asked{}, fmt.Errorf("sync application %s: %w: %w", name, err, problem.ErrExists)
	}
	if err != nil {
		return api.Asked{}, appProblem("sync application "+name, err)
	}
	return api.Asked{Request: request}, nil
}

func (f appFace) Refresh(ctx context.Context, by identity.Principal, namespace, name string, hard bool) error {
	c, err := f.client(by, namespace)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, appTime)
	defer cancel()
	if err := ask.Refresh(ctx, c, "penstock-api", name, hard); err != nil {
		return appProblem("refresh application "+name, err)
	}
	return nil
}

// noCluster says that there is no answer from the cluster.
type noCluster struct{ err error }

func (n noCluster) Error() string { return "the cluster does not answer: " + n.err.Error() }
func (n noCluster) Unwrap() error { return n.err }

// Unavailable makes it a 503.
func (noCluster) Unavailable() {}

// appProblem gives an answer of the API server our words.
func appProblem(op string, err error) error {
	var is error
	switch {
	case meta.IsNoMatchError(err), apierrors.IsNotFound(err):
		is = problem.ErrNotFound
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		is = problem.ErrForbidden
	case apierrors.IsInvalid(err), errors.Is(err, problem.ErrInvalid):
		is = problem.ErrInvalid
	case errors.As(err, new(apierrors.APIStatus)), errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", op, err)
	default:
		return noCluster{fmt.Errorf("%s: %w", op, err)}
	}
	return fmt.Errorf("%s: %s: %w", op, cluster.Reason(err), is)
}

// showApp is an Application as the API shows it.
func showApp(u *unstructured.Unstructured) (api.Application, error) {
	a, _, err := v1alpha1.DecodeApplication(u)
	if err != nil {
		return api.Application{}, fmt.Errorf("read application %s: %w", u.GetName(), err)
	}
	src := v1alpha1.Source{}
	if a.Spec.Source != nil {
		src = *a.Spec.Source
	}
	st := &a.Status
	out := api.Application{
		Namespace: a.Namespace, Name: a.Name, Project: a.Spec.Project,
		Repo: src.RepoURL, Path: src.Path, Target: src.TargetRevision,
		Destination: a.Spec.Destination.Cluster() + "/" + a.Spec.Destination.Namespace,
		Automated:   a.Spec.SyncPolicy.On(),
		Sync:        or(st.Sync.Status, "Unknown"), Revision: st.Sync.Revision,
		Health: or(st.Health.Status, "Unknown"), HealthMessage: st.Health.Message,
		Images: st.Summary.Images, URLs: st.Summary.ExternalURLs,
		CreatedAt: a.CreationTimestamp.Time, ResourceVersion: a.ResourceVersion,
	}
	if st.ReconciledAt != nil {
		out.ComparedAt = st.ReconciledAt.Time
	}
	if o := st.OperationState; o != nil {
		by := o.Operation.InitiatedBy.Username
		if o.Operation.InitiatedBy.Automated {
			by = "automated"
		}
		op := api.AppOperation{Phase: o.Phase, Message: o.Message, By: by, StartedAt: o.StartedAt.Time}
		if o.SyncResult != nil {
			op.Revision = o.SyncResult.Revision
		}
		if o.FinishedAt != nil {
			op.FinishedAt = o.FinishedAt.Time
		}
		out.Operation = &op
	}
	for _, c := range st.Conditions {
		out.Conditions = append(out.Conditions, api.AppMessage{Type: c.Type, Message: c.Message})
	}
	for _, h := range st.History {
		out.History = append(out.History, api.AppHistory{ID: h.ID, Revision: h.Revision, DeployedAt: h.DeployedAt.Time})
	}
	for _, r := range st.Resources {
		res := api.AppResource{Group: r.Group, Kind: r.Kind, Namespace: r.Namespace, Name: r.Name, Sync: r.Status, Message: r.Why, Prune: r.RequiresPruning}
		if r.Health != nil {
			res.Health = r.Health.Status
			res.Message = or(res.Message, r.Health.Message)
		}
		out.Resources = append(out.Resources, res)
	}
	return out, nil
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// watchApplications tells feed of every change to an Application, until ctx
// ends. It keeps their metadata only.
func watchApplications(ctx context.Context, o serverOptions, feed *api.Feed, log *slog.Logger) error {
	for {
		config, err := cluster.Config(o.kubeconfigFile())
		if err == nil {
			client, cerr := metadata.NewForConfig(config)
			if cerr != nil {
				return cerr
			}
			informer := metadatainformer.NewFilteredMetadataInformer(client, v1alpha1.Applications, metav1.NamespaceAll, 0, cache.Indexers{}, nil).Informer()
			if err := tellChanges(informer, feed); err != nil {
				return err
			}
			informer.RunWithContext(ctx)
			return ctx.Err()
		}
		log.Debug("applications cannot be watched yet", "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func tellChanges(informer cache.SharedIndexInformer, feed *api.Feed) error {
	told := func(o any) {
		if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(o); err == nil {
			feed.Changed(api.KindApplication, key)
		}
	}
	if err := informer.SetWatchErrorHandlerWithContext(func(context.Context, *cache.Reflector, error) {}); err != nil {
		return err // the reflector tries again; what it says is not news
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    told,
		DeleteFunc: told,
		UpdateFunc: func(before, after any) {
			a, err1 := meta.Accessor(before)
			b, err2 := meta.Accessor(after)
			if errors.Join(err1, err2) == nil && a.GetResourceVersion() != b.GetResourceVersion() {
				told(after)
			}
		},
	})
	return err
}
