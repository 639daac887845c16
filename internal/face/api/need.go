package api

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/audit"
	"github.com/penstock-dev/penstock/internal/host/identity"
)

// need is what a caller must be allowed to do for an operation. Every
// operation declares one; it stands in the OpenAPI file as
// x-penstock-requires.
type need struct {
	kind     needKind
	verb     string
	resource string
	group    string // default identity.Group
	// scoped: a list that shows a caller who may not see all projects those
	// that they may see.
	scoped bool
	// hidden: who may not even get the object is told that there is none.
	hidden bool
	// sealed: the answer holds a secret, which must not be kept for a replay.
	sealed bool
}

type needKind int

const (
	byRole  needKind = iota // Kubernetes RBAC decides
	anybody                 // without any credentials
	known                   // any user, about themselves
	own                     // any user about what is theirs; of others, RBAC decides
)

func (n need) String() string {
	switch n.kind {
	case anybody:
		return "nothing"
	case known:
		return "a user"
	}
	group := n.group
	if group == "" {
		group = identity.Group
	}
	s := n.verb + " " + n.resource + "." + group
	if n.kind == own {
		s = "the user, or " + s
	}
	return s
}

// target is what an operation is about: the project that RBAC is asked for,
// "" for all of them.
type target struct{ project, name, owner string }

// handle registers an operation with what it needs. where finds what a request
// is about; nil is nothing in particular.
func handle[I, O any](a *API, op huma.Operation, n need, where func(context.Context, *I) (target, error), h func(context.Context, *I) (*O, error)) {
	op.Extensions = map[string]any{"x-penstock-requires": n.String()}
	if n.kind == anybody {
		op.Security = []map[string][]string{{}}
	} else {
		op.Errors = append(op.Errors, http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusServiceUnavailable)
	}
	a.needs[op.OperationID] = n
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		var t target
		if where != nil {
			var err error
			if t, err = where(ctx, in); err != nil {
				return nil, status(err)
			}
		}
		if op.Method == http.MethodGet {
			ctx, err := a.admit(ctx, n, t)
			if err != nil {
				return nil, status(err)
			}
			out, err := h(ctx, in)
			return out, status(err)
		}
		ctx = a.beginAudit(ctx, op.OperationID, n, t)
		ctx2, err := a.admit(ctx, n, t)
		var out *O
		if err == nil {
			ctx = ctx2
			out, err = h(ctx, in)
		}
		if aerr := a.endAudit(ctx, err, op.DefaultStatus); aerr != nil && err == nil {
			// What was done stays done; that nobody would know is worse than
			// an answer that makes the caller look.
			err = aerr
		}
		return out, status(err)
	})
}

// admit says whether the caller in ctx may do what n says to t.
func (a *API) admit(ctx context.Context, n need, t target) (context.Context, error) {
	p, ok := Caller(ctx)
	switch {
	case n.kind == anybody:
		return ctx, nil
	case !ok:
		return ctx, problem.ErrUnauthenticated
	case n.kind == known, n.kind == own && t.owner == p.Name:
		return ctx, nil
	}
	act := identity.Action{Group: n.group, Verb: n.verb, Resource: n.resource, Project: t.project, Name: t.name}
	err := a.auth.Allow(ctx, p, act)
	switch {
	case err == nil || !errors.Is(err, problem.ErrForbidden) || unavailable(err):
		return ctx, err
	case n.scoped && t.project == "" && p.Opens(act):
		return context.WithValue(ctx, sightKey{}, &sight{auth: a.auth, p: p, act: act, seen: map[string]bool{}}), nil
	case n.hidden && !a.mayGet(ctx, p, act):
		return ctx, notThere{}
	}
	return ctx, err
}

// mayGet says whether p may at least see what act is about.
func (a *API) mayGet(ctx context.Context, p identity.Principal, act identity.Action) bool {
	if act.Verb == "get" {
		return false
	}
	act.Verb = "get"
	return a.auth.Allow(ctx, p, act) == nil
}

// notThere is what a caller is told of things that are none of their business.
type notThere struct{}

func (notThere) Error() string { return "not found" }
func (notThere) Unwrap() error { return problem.ErrNotFound }

type sightKey struct{}

// sight knows which projects a caller sees who does not see all.
type sight struct {
	auth Authenticator
	p    identity.Principal
	act  identity.Action

	mu   sync.Mutex
	seen map[string]bool
}

// sees says whether the caller of a scoped list may see project.
func sees(ctx context.Context, project string) bool {
	s, ok := ctx.Value(sightKey{}).(*sight)
	if !ok {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	may, known := s.seen[project]
	if !known {
		act := s.act
		act.Project = project
		may = project != "" && s.auth.Allow(ctx, s.p, act) == nil
		s.seen[project] = may
	}
	return may
}

// seesAll says whether the caller of a scoped list sees every project.
func seesAll(ctx context.Context) bool { return ctx.Value(sightKey{}) == nil }

func unavailable(err error) bool {
	var u interface{ Unavailable() }
	return errors.As(err, &u)
}

// beginAudit starts the entry of a write.
func (a *API) beginAudit(ctx context.Context, operation string, n need, t target) context.Context {
	if a.audit == nil {
		return ctx
	}
	p, _ := Caller(ctx)
	r := requestOf(ctx)
	return a.audit.Begin(ctx, audit.Entry{
		Actor: p.Name, Via: p.Via, Remote: r.remote, Request: r.id, Operation: operation,
		Verb: n.verb, Resource: n.resource, Project: t.project, Name: t.name,
	})
}

// endAudit ends it with what became of the write.
func (a *API) endAudit(ctx context.Context, err error, success int) error {
	if a.audit == nil {
		return nil
	}
	if err == nil {
		return a.audit.End(ctx, audit.Succeeded, success, "")
	}
	outcome := audit.Failed
	if errors.Is(err, problem.ErrForbidden) {
		outcome = audit.Refused
	}
	code := http.StatusInternalServerError
	if s, ok := errors.AsType[huma.StatusError](status(err)); ok {
		code = s.GetStatus()
	}
	return a.audit.End(ctx, outcome, code, err.Error())
}
