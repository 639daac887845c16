// Package accesstest decides what users may do as a cluster with the roles of
// package access would, without a cluster.
package accesstest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/penstock-dev/penstock/internal/host/access"
	"github.com/penstock-dev/penstock/internal/host/identity"
)

// RBAC is a reviewer that reads the roles themselves.
type RBAC struct {
	Grants []access.Grant // roles in single projects
	// Down makes it a cluster that does not answer.
	Down atomic.Bool
}

// ErrDown is what a cluster says that does not answer.
var ErrDown = errors.New("connection refused")

// Review implements identity.Reviewer.
func (r *RBAC) Review(_ context.Context, p identity.Principal, a identity.Action) (bool, error) {
	if r.Down.Load() {
		return false, ErrDown
	}
	roles, err := access.Roles()
	if err != nil {
		return false, err
	}
	has := p.Groups()
	for _, g := range r.Grants {
		if g.User == p.Name && g.Project == a.Project && a.Project != "" {
			has = append(has, identity.GroupPrefix+g.Role)
		}
	}
	for _, role := range roles {
		if slices.Contains(has, role.Name) && slices.ContainsFunc(role.Rules, func(rule rbacv1.PolicyRule) bool { return covers(rule, a) }) {
			return true, nil
		}
	}
	return false, nil
}

// covers is Kubernetes' rule: see RuleAllows in its RBAC authorizer.
func covers(rule rbacv1.PolicyRule, a identity.Action) bool {
	any := func(list []string, v string) bool { return slices.Contains(list, "*") || slices.Contains(list, v) }
	resource := any(rule.Resources, a.Resource)
	if _, sub, ok := strings.Cut(a.Resource, "/"); ok && !resource {
		resource = slices.Contains(rule.Resources, "*/"+sub)
	}
	return any(rule.Verbs, a.Verb) && any(rule.APIGroups, a.Group) && resource &&
		(len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, a.Name))
}
