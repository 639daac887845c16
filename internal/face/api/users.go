package api

import (
	"context"
	"net/http"

	"github.com/penstock-dev/penstock/internal/host/access"
	"github.com/penstock-dev/penstock/internal/host/identity"
)

// NewUser asks for a user.
type NewUser struct {
	Name  string   `json:"name" minLength:"1" maxLength:"100" example:"ann"`
	Roles []string `json:"roles,omitempty" nullable:"false" maxItems:"4" doc:"in all projects: reader, developer, approver, admin"`
}

// NewGrant asks for a role in one project.
type NewGrant struct {
	Role    string `json:"role" enum:"reader,developer,approver,admin"`
	Project string `json:"project" minLength:"1" maxLength:"63" pattern:"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"`
}

// Grants gives and takes roles in single projects: RoleBindings, which the
// cluster lets the caller write or not.
type Grants interface {
	Grants(ctx context.Context, by identity.Principal, user string) ([]access.Grant, error)
	Give(ctx context.Context, by identity.Principal, g access.Grant) error
	Take(ctx context.Context, by identity.Principal, g access.Grant) error
}

// UserPath names a user.
type UserPath struct {
	User string `path:"user" maxLength:"100"`
}

type grantPath struct {
	UserPath
	Project string `path:"project" maxLength:"63"`
	Role    string `path:"role" enum:"reader,developer,approver,admin"`
}

type userBody[T any] struct {
	UserPath
	Body T
}

func (a *API) users(s Identity) {
	const tag, resource = "users", "users"
	handle(a, route("list-users", http.MethodGet, "/api/v1/users", tag, "List users", http.StatusUnprocessableEntity),
		need{verb: "list", resource: resource}, nil,
		func(ctx context.Context, in *Paging) (*body[Page[identity.User]], error) {
			all, err := s.Users(ctx)
			if err != nil {
				return nil, err
			}
			page, err := pageOf(all, *in, listID("users"), false, func(u identity.User) string { return u.Name })
			return &body[Page[identity.User]]{page}, err
		})
	create := route("create-user", http.MethodPost, "/api/v1/users", tag, "Create a user", http.StatusConflict, http.StatusUnprocessableEntity)
	create.DefaultStatus = http.StatusCreated
	handle(a, create, need{verb: "create", resource: resource},
		func(_ context.Context, in *body[NewUser]) (target, error) { return target{name: in.Body.Name}, nil },
		func(ctx context.Context, in *body[NewUser]) (*body[identity.User], error) {
			p, _ := Caller(ctx)
			for _, role := range in.Body.Roles {
				// Who may create users does not thereby hand out every role.
				if err := a.auth.Allow(ctx, p, identity.Action{Verb: "bind", Resource: "roles", Name: role}); err != nil {
					return nil, err
				}
			}
			u, err := s.CreateUser(ctx, in.Body.Name, in.Body.Roles)
			if err != nil {
				return nil, err
			}
			return &body[identity.User]{u}, nil
		})
	remove := route("delete-user", http.MethodDelete, "/api/v1/users/{user}", tag, "Delete a user with all tokens and sessions; roles in single projects are taken with /roles", http.StatusNotFound)
	remove.DefaultStatus = http.StatusNoContent
	handle(a, remove, need{verb: "delete", resource: resource}, userTarget,
		func(ctx context.Context, in *UserPath) (*struct{}, error) { return nil, s.DeleteUser(ctx, in.User) })
}

func userTarget(_ context.Context, in *UserPath) (target, error) { return target{name: in.User}, nil }

// Grants registers /api/v1/users/{user}/roles.
func (a *API) Grants(s Grants) {
	const tag, resource = "users", "users/roles"
	handle(a, route("list-user-roles", http.MethodGet, "/api/v1/users/{user}/roles", tag, "List a user's roles in single projects"),
		need{verb: "list", resource: resource}, userTarget,
		func(ctx context.Context, in *UserPath) (*body[Page[access.Grant]], error) {
			p, _ := Caller(ctx)
			all, err := s.Grants(ctx, p, in.User)
			return &body[Page[access.Grant]]{Page[access.Grant]{Items: all}}, err
		})
	give := route("create-user-role", http.MethodPost, "/api/v1/users/{user}/roles", tag, "Give a user a role in one project", http.StatusUnprocessableEntity)
	give.DefaultStatus = http.StatusCreated
	handle(a, give, need{verb: "create", resource: resource},
		func(_ context.Context, in *userBody[NewGrant]) (target, error) {
			return target{project: in.Body.Project, name: in.User}, nil
		},
		func(ctx context.Context, in *userBody[NewGrant]) (*body[access.Grant], error) {
			p, _ := Caller(ctx)
			g := access.Grant{User: in.User, Role: in.Body.Role, Project: in.Body.Project}
			return &body[access.Grant]{g}, s.Give(ctx, p, g)
		})
	take := route("delete-user-role", http.MethodDelete, "/api/v1/users/{user}/roles/{project}/{role}", tag, "Take a role in one project from a user", http.StatusNotFound)
	take.DefaultStatus = http.StatusNoContent
	handle(a, take, need{verb: "delete", resource: resource},
		func(_ context.Context, in *grantPath) (target, error) {
			return target{project: in.Project, name: in.User}, nil
		},
		func(ctx context.Context, in *grantPath) (*struct{}, error) {
			p, _ := Caller(ctx)
			return nil, s.Take(ctx, p, access.Grant{User: in.User, Role: in.Role, Project: in.Project})
		})
}
