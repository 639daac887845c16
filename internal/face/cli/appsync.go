package cli

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/gitops/ask"
)

func newAppSync(f *appFlags) *cobra.Command {
	var o struct {
		revision             string
		resources            []string
		prune, dryRun, async bool
		wait                 bool
		timeout              time.Duration
	}
	c := &cobra.Command{
		Use:   "sync NAME",
		Short: "Make the cluster what the repository says",
		Long: `Make the cluster what the repository says, and wait until that is done.

With --wait the command goes on waiting until the Application is synced and
healthy. The exit code is 1 when the sync fails, 6 when the time is over.`,
		Example: "  penstock app sync shop --wait --timeout 2m",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if o.async && o.wait {
				return &problem.Error{Op: "sync application", Subject: args[0], Err: fmt.Errorf("%w: --async and --wait exclude each other", problem.ErrUsage), Hint: c.CommandPath() + " --help"}
			}
			client, err := f.client()
			if err != nil {
				return err
			}
			op := v1alpha1.SyncOperation{Revision: o.revision, Prune: o.prune, DryRun: o.dryRun}
			if op.Resources, err = parseResources(o.resources); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context(), o.timeout)
			defer cancel()
			request, err := requestSync(ctx, client, args[0], op)
			if err != nil || o.async {
				return err
			}
			if err := f.followSync(ctx, client, args[0], request); err != nil {
				return waitError("sync application", args[0], o.timeout, err)
			}
			if o.wait {
				return waitError("wait for application", args[0], o.timeout, f.waitApp(ctx, client, args[0], true, true))
			}
			return nil
		},
	}
	fl := c.Flags()
	fl.StringVar(&o.revision, "revision", "", "`commit`, branch or tag to bring instead of the target revision")
	fl.BoolVar(&o.prune, "prune", false, "delete objects that are not in the repository")
	fl.BoolVar(&o.dryRun, "dry-run", false, "ask the API server what it would say, change nothing")
	fl.StringArrayVar(&o.resources, "resource", nil, "only this object: `GROUP:KIND:[NAMESPACE/]NAME`; may be repeated")
	fl.BoolVar(&o.async, "async", false, "ask for the sync and do not wait")
	fl.BoolVar(&o.wait, "wait", false, "wait until the Application is synced and healthy")
	fl.DurationVar(&o.timeout, "timeout", 5*time.Minute, "give up waiting after this `time`")
	return c
}

func newAppWait(f *appFlags) *cobra.Command {
	synced, healthy := false, false
	timeout := 5 * time.Minute
	c := &cobra.Command{
		Use:   "wait NAME",
		Short: "Wait until an Application is synced and healthy",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := f.client()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context(), timeout)
			defer cancel()
			if !synced && !healthy {
				synced, healthy = true, true
			}
			return waitError("wait for application", args[0], timeout, f.waitApp(ctx, client, args[0], synced, healthy))
		},
	}
	c.Flags().BoolVar(&synced, "sync", false, "wait for synced only")
	c.Flags().BoolVar(&healthy, "health", false, "wait for healthy only")
	c.Flags().DurationVar(&timeout, "timeout", timeout, "give up after this `time`")
	return c
}

// parseResources reads "GROUP:KIND:NAME" or "GROUP:KIND:NAMESPACE/NAME".
func parseResources(list []string) ([]v1alpha1.SyncResource, error) {
	var out []v1alpha1.SyncResource
	for _, s := range list {
		p := strings.SplitN(s, ":", 3)
		if len(p) != 3 || p[1] == "" || p[2] == "" {
			return nil, &problem.Error{Op: "read --resource", Subject: s, Err: fmt.Errorf("%w: it is not GROUP:KIND:[NAMESPACE/]NAME", problem.ErrUsage), Hint: "--resource apps:Deployment:web"}
		}
		r := v1alpha1.SyncResource{Group: p[0], Kind: p[1], Name: p[2]}
		if ns, name, ok := strings.Cut(p[2], "/"); ok {
			r.Namespace, r.Name = ns, name
		}
		out = append(out, r)
	}
	return out, nil
}

// manager owns the fields that the command line writes.
const manager = "penstock-cli"

// requestSync asks for a sync and returns the name of the request. An
// Application does one thing at a time.
func requestSync(ctx context.Context, client dynamic.ResourceInterface, name string, op v1alpha1.SyncOperation) (string, error) {
	request, err := ask.Sync(ctx, client, manager, name, username(), op)
	switch {
	case errors.Is(err, ask.ErrBusy):
		return "", &problem.Error{Op: "sync application", Subject: name, Err: err, Hint: "penstock app wait " + name + ", then try again"}
	case err != nil:
		return "", appError("sync application", name, err)
	}
	return request, nil
}

func username() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "unknown"
}

// followSync waits for the end of our operation and tells what happens.
func (f *appFlags) followSync(ctx context.Context, client dynamic.ResourceInterface, name, request string) error {
	said := ""
	return watchApp(ctx, client, name, func(a *v1alpha1.Application) (bool, error) {
		s := a.Status.OperationState
		if s == nil || !ask.Is(s.Operation, request) {
			return false, nil
		}
		if line := s.Phase + ": " + s.Message; line != said {
			said = line
			fmt.Fprintln(f.g.Err, line)
		}
		if !v1alpha1.Completed(s.Phase) {
			return false, nil
		}
		if s.Phase != v1alpha1.PhaseSucceeded {
			return false, fmt.Errorf("%w: %s", problem.ErrNegative, s.Message)
		}
		return true, nil
	})
}

// waitApp waits until the Application is synced, healthy, or both, and has no
// operation under way.
func (f *appFlags) waitApp(ctx context.Context, client dynamic.ResourceInterface, name string, synced, healthy bool) error {
	said := ""
	return watchApp(ctx, client, name, func(a *v1alpha1.Application) (bool, error) {
		if line := fmt.Sprintf("%s, %s", orDash(a.Status.Sync.Status), healthText(a.Status.Health)); line != said {
			said = line
			fmt.Fprintln(f.g.Err, line)
		}
		return a.Operation == nil &&
			(!synced || a.Status.Sync.Status == v1alpha1.SyncStatusSynced) &&
			(!healthy || a.Status.Health.Status == v1alpha1.HealthHealthy), nil
	})
}

// watchApp calls done with every state of the Application until it says so.
func watchApp(ctx context.Context, client dynamic.ResourceInterface, name string, done func(*v1alpha1.Application) (bool, error)) error {
	only := fields.OneTermEqualSelector("metadata.name", name).String()
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = only
			return client.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = only
			return client.Watch(ctx, o)
		},
	}
	_, err := watchtools.UntilWithSync(ctx, lw, &unstructured.Unstructured{}, nil, func(e watch.Event) (bool, error) {
		u, ok := e.Object.(*unstructured.Unstructured)
		if !ok {
			return false, nil
		}
		if e.Type == watch.Deleted {
			return false, problem.ErrNotFound
		}
		app, _, err := v1alpha1.DecodeApplication(u)
		if err != nil {
			return false, err
		}
		return done(app)
	})
	if err != nil && ctx.Err() != nil && (errors.Is(err, watchtools.ErrWatchClosed) || wait.Interrupted(err)) {
		return context.Cause(ctx)
	}
	return err
}

// waitError says of a wait that ended what ended it.
func waitError(op, name string, timeout time.Duration, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return &problem.Error{Op: op, Subject: name, Err: fmt.Errorf("%w after %s", problem.ErrTimeout, timeout), Hint: "penstock app get " + name}
	}
	return &problem.Error{Op: op, Subject: name, Err: err, Hint: "penstock app get " + name}
}
