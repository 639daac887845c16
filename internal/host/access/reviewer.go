// Package access asks Kubernetes what users may do, and lets them act on the
// cluster as themselves.
//
// The roles are ClusterRoles, applied at every start. A user has one in all
// projects by being in its group, or in one project by a RoleBinding in the
// namespace of that name. Whatever else the cluster's RBAC gives to the user
// or the groups counts too.
package access

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/penstock-dev/penstock/internal/host/cluster"
	"github.com/penstock-dev/penstock/internal/host/identity"
)

// Options configures a [Reviewer].
type Options struct {
	Kubeconfig string           // may appear later; "" is the pod's own account
	Now        func() time.Time // default time.Now
	Log        *slog.Logger     // default discards
}

// Reviewer asks the cluster. Answers are remembered for a few seconds, so a
// change of roles takes effect that much later at most.
type Reviewer struct {
	o     Options
	cache *cache

	mu      sync.Mutex
	config  *rest.Config
	client  kubernetes.Interface
	applied bool
}

// New returns a reviewer. It makes no request yet.
func New(o Options) *Reviewer {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Reviewer{o: o, cache: newCache(o.Now)}
}

// reviewTime bounds a question to the cluster.
const reviewTime = 5 * time.Second

// Review asks whether p may do a.
func (r *Reviewer) Review(ctx context.Context, p identity.Principal, a identity.Action) (bool, error) {
	k := question{p.Name, strings.Join(p.Groups(), ","), a}
	if allowed, ok := r.cache.get(k); ok {
		return allowed, nil
	}
	client, err := r.kube()
	if err != nil {
		return false, err
	}
	resource, sub, _ := strings.Cut(a.Resource, "/")
	ctx, cancel := context.WithTimeout(ctx, reviewTime)
	defer cancel()
	review, err := client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: p.Name, Groups: append(p.Groups(), "system:authenticated"),
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: a.Project, Verb: a.Verb, Group: a.Group, Version: "*", Resource: resource, Subresource: sub, Name: a.Name,
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("ask for an access review: %w", err)
	}
	if review.Status.EvaluationError != "" && !review.Status.Allowed {
		r.o.Log.Warn("access review with an error", "user", p.Name, "action", a.String(), "error", review.Status.EvaluationError)
	}
	r.cache.put(k, review.Status.Allowed)
	return review.Status.Allowed, nil
}

// As returns the configuration of a client that acts as p: Kubernetes decides
// what it may do, and its audit log names p.
func (r *Reviewer) As(p identity.Principal) (*rest.Config, error) {
	if p.Name == "" || p.Job {
		return nil, errors.New("only users act on the cluster")
	}
	if _, err := r.kube(); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c := rest.CopyConfig(r.config)
	c.Impersonate = rest.ImpersonationConfig{UserName: p.Name, Groups: p.Groups()}
	return c, nil
}

// kube returns the client, once there is a kubeconfig.
func (r *Reviewer) kube() (kubernetes.Interface, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client != nil {
		return r.client, nil
	}
	config, err := cluster.Config(r.o.Kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 100, 200
	config.WarningHandlerWithContext = rest.NoWarnings{}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	r.config, r.client = config, client
	return client, nil
}

// forget makes the next question read the kubeconfig again: a renewed node
// has new certificates.
func (r *Reviewer) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.client = nil
}

// Again and again until the roles are there, then now and then: somebody may
// have removed them.
const (
	applyRetry = time.Second
	applyEvery = 10 * time.Minute
)

// Run keeps the roles applied until ctx ends.
func (r *Reviewer) Run(ctx context.Context) error {
	t := time.NewTimer(0)
	defer t.Stop()
	said := ""
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
		err := r.apply(ctx)
		switch {
		case err == nil:
			said = ""
			t.Reset(applyEvery)
			continue
		case ctx.Err() != nil:
		case err.Error() != said:
			said = err.Error()
			r.o.Log.Info("roles are not applied yet", "error", err)
		}
		r.forget()
		t.Reset(applyRetry)
	}
}

// Ready says whether the roles are in the cluster.
func (r *Reviewer) Ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.applied {
		return errors.New("the roles are not in the cluster yet")
	}
	return nil
}

func (r *Reviewer) apply(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if _, err := r.kube(); err != nil {
		return err
	}
	r.mu.Lock()
	config := r.config
	r.mu.Unlock()
	c, err := cluster.New(config)
	if err != nil {
		return err
	}
	roles, err := Roles()
	if err != nil {
		return err
	}
	for i := range roles {
		b := binding(roles[i].Name)
		for _, o := range []any{&roles[i], &b} {
			m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
			if err != nil {
				return err
			}
			u := &unstructured.Unstructured{Object: m}
			u.SetLabels(map[string]string{"app.kubernetes.io/managed-by": "penstock"})
			if _, err := c.Apply(ctx, u, cluster.ApplyOptions{}); err != nil {
				return fmt.Errorf("apply %s %s: %w", u.GetKind(), u.GetName(), err)
			}
		}
	}
	r.mu.Lock()
	r.applied = true
	r.mu.Unlock()
	return nil
}
