package identity

import (
	"context"
	"fmt"
	"strings"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Group is the API group of what Penstock keeps outside of Kubernetes. The
// resources in it are virtual: they exist in roles and access reviews only.
const Group = "penstock.dev"

// Action is what somebody wants to do, in the words of Kubernetes RBAC.
type Action struct {
	Group    string // default [Group]
	Verb     string // get, list, create, update, delete …
	Resource string // "runs", or "runs/log" for a subresource
	Project  string // the namespace; "" is all of them
	Name     string
}

func (a Action) String() string {
	s := a.Verb + " " + a.Resource
	if a.Group != "" && a.Group != Group {
		s += "." + a.Group
	}
	if a.Name != "" {
		s += " " + a.Name
	}
	if a.Project != "" {
		return s + " in project " + a.Project
	}
	return s
}

// reads says whether the action changes nothing.
func (a Action) reads() bool { return a.Verb == "get" || a.Verb == "list" || a.Verb == "watch" }

// Reviewer decides what a user may do. An error means that there is no
// decision; then the answer is no.
type Reviewer interface {
	Review(ctx context.Context, p Principal, a Action) (allowed bool, err error)
}

// ErrUndecided marks a refusal because nobody could be asked.
type undecided struct{ err error }

func (u undecided) Error() string { return "the cluster cannot be asked who may: " + u.err.Error() }
func (u undecided) Unwrap() error { return u.err }

// Unavailable marks it for those who choose an answer's status.
func (undecided) Unavailable() {}

// Allow says whether p may do a: nil, or an error that wraps
// problem.ErrForbidden, or one with a method Unavailable when the cluster,
// which decides, does not answer. This machine's administrator does not depend
// on the cluster.
func (k *Keeper) Allow(ctx context.Context, p Principal, a Action) error {
	if p.Admin {
		return nil
	}
	if a.Group == "" {
		a.Group = Group
	}
	if p.Job || p.Name == "" {
		return fmt.Errorf("%s may not %s: %w", p.Name, a, problem.ErrForbidden)
	}
	if !p.limits.allow(a) {
		return fmt.Errorf("the token may not %s: %w", a, problem.ErrForbidden)
	}
	if k.reviewer == nil {
		return undecided{fmt.Errorf("there is none: %w", problem.ErrForbidden)}
	}
	ok, err := k.reviewer.Review(ctx, p, a)
	if err != nil {
		return undecided{err}
	}
	if !ok {
		return fmt.Errorf("%s may not %s: %w", p.Name, a, problem.ErrForbidden)
	}
	return nil
}

// AllowRepo says whether p may read (fetch, pull), or write (push), what the
// repository called repo holds.
func (k *Keeper) AllowRepo(ctx context.Context, p Principal, repo string, write bool) error {
	if p.May(repo, write) {
		return nil
	}
	return k.allowContent(ctx, p, "repositories/content", repo, write)
}

// AllowImage says whether a user may pull, or push, images of repo.
func (k *Keeper) AllowImage(ctx context.Context, p Principal, repo string, write bool) error {
	return k.allowContent(ctx, p, "images", repo, write)
}

func (k *Keeper) allowContent(ctx context.Context, p Principal, resource, repo string, write bool) error {
	verb, word := "get", "read"
	if write {
		verb, word = "update", "write"
	}
	owner, name, ok := strings.Cut(repo, "/")
	if p.Job || !ok {
		return fmt.Errorf("%s may not %s %s: %w", p.Name, word, repo, problem.ErrForbidden)
	}
	return k.Allow(ctx, p, Action{Verb: verb, Resource: resource, Project: owner, Name: name})
}
