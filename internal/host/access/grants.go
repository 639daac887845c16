package access

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/penstock-dev/penstock/internal/base/id"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/cluster"
	"github.com/penstock-dev/penstock/internal/host/identity"
)

// Grant is a role of a user in one project.
type Grant struct {
	User    string `json:"user"`
	Role    string `json:"role"`
	Project string `json:"project"`
}

// userLabel marks our RoleBindings. Names of users are not label values, so
// it holds a hash.
const userLabel = "penstock.dev/user"

func userHash(user string) string { return id.Of("user", user) }

func (g Grant) name() string {
	return "penstock-" + g.Role + "-" + userHash(g.User)[:16]
}

// Give gives a user a role in a project, as p: Kubernetes refuses who may not.
func (r *Reviewer) Give(ctx context.Context, p identity.Principal, g Grant) error {
	if !slices.Contains(identity.Roles(), g.Role) {
		return fmt.Errorf("role %q is not one of %v: %w", g.Role, identity.Roles(), problem.ErrInvalid)
	}
	client, err := r.clientAs(p)
	if err != nil {
		return err
	}
	_, err = client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: g.Project}}, metav1.CreateOptions{FieldManager: cluster.FieldManager})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return kubeError("create the namespace of project "+g.Project, err)
	}
	b := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: g.name(), Labels: map[string]string{userLabel: userHash(g.User)}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: clusterRole(g.Role)},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: g.User}},
	}
	_, err = client.RbacV1().RoleBindings(g.Project).Create(ctx, b, metav1.CreateOptions{FieldManager: cluster.FieldManager})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return kubeError("give "+g.User+" the role "+g.Role+" in "+g.Project, err)
	}
	return nil
}

// Take takes it back.
func (r *Reviewer) Take(ctx context.Context, p identity.Principal, g Grant) error {
	client, err := r.clientAs(p)
	if err != nil {
		return err
	}
	if err := client.RbacV1().RoleBindings(g.Project).Delete(ctx, g.name(), metav1.DeleteOptions{}); err != nil {
		return kubeError("take the role "+g.Role+" in "+g.Project+" from "+g.User, err)
	}
	return nil
}

// TakeAll takes all that [Reviewer.Give] gave to a user.
func (r *Reviewer) TakeAll(ctx context.Context, p identity.Principal, user string) error {
	all, err := r.Grants(ctx, p, user)
	if err != nil {
		return err
	}
	for _, g := range all {
		if err := r.Take(ctx, p, g); err != nil {
			return err
		}
	}
	return nil
}

// Grants lists what [Reviewer.Give] gave to a user, in order of the projects.
func (r *Reviewer) Grants(ctx context.Context, p identity.Principal, user string) ([]Grant, error) {
	client, err := r.clientAs(p)
	if err != nil {
		return nil, err
	}
	list, err := client.RbacV1().RoleBindings("").List(ctx, metav1.ListOptions{LabelSelector: userLabel + "=" + userHash(user)})
	if err != nil {
		return nil, kubeError("list the roles of "+user, err)
	}
	all := []Grant{}
	for _, b := range list.Items {
		role, ours := strings.CutPrefix(b.RoleRef.Name, identity.GroupPrefix)
		if ours && len(b.Subjects) == 1 && b.Subjects[0].Name == user {
			all = append(all, Grant{user, role, b.Namespace})
		}
	}
	slices.SortFunc(all, func(a, b Grant) int { return strings.Compare(a.Project+"/"+a.Role, b.Project+"/"+b.Role) })
	return all, nil
}

func (r *Reviewer) clientAs(p identity.Principal) (kubernetes.Interface, error) {
	config, err := r.As(p)
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}

// kubeError gives an answer of the API server our words.
func kubeError(op string, err error) error {
	is := error(nil)
	switch {
	case apierrors.IsForbidden(err):
		is = problem.ErrForbidden
	case apierrors.IsNotFound(err):
		is = problem.ErrNotFound
	case apierrors.IsInvalid(err):
		is = problem.ErrInvalid
	default:
		return fmt.Errorf("%s: %w", op, err)
	}
	return fmt.Errorf("%s: %s: %w", op, cluster.Reason(err), is)
}
