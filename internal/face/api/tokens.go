package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/identity"
)

// NewToken asks for an API token.
type NewToken struct {
	Name      string   `json:"name" minLength:"1" maxLength:"100" doc:"what it is for" example:"deploy from my laptop"`
	User      string   `json:"user,omitempty" maxLength:"100" doc:"whom it speaks for; the caller when left out"`
	Scopes    []string `json:"scopes,omitempty" nullable:"false" maxItems:"50" doc:"what it opens of what the user may do: * (when left out), read, RESOURCE:read, RESOURCE:write"`
	Projects  []string `json:"projects,omitempty" nullable:"false" maxItems:"50" doc:"where; everywhere when left out"`
	ExpiresIn string   `json:"expiresIn,omitempty" maxLength:"20" default:"2160h" doc:"how long it is valid" example:"24h"`
}

// CreatedToken is a token with its secret.
type CreatedToken struct {
	identity.Token
	Secret string `json:"secret" doc:"the token itself; it is not stored and cannot be shown again"`
}

type tokenPath struct {
	ID string `path:"id" maxLength:"40"`
}

type tokenQuery struct {
	Paging
	User string `query:"user" maxLength:"100" doc:"whose; the caller's when left out, * for everybody's"`
}

func (a *API) tokens(s Identity) {
	const tag, resource = "tokens", "tokens"
	handle(a, route("list-tokens", http.MethodGet, "/api/v1/tokens", tag, "List API tokens, without their secrets", http.StatusUnprocessableEntity),
		need{kind: own, verb: "list", resource: resource},
		func(ctx context.Context, in *tokenQuery) (target, error) {
			if p, _ := Caller(ctx); in.User == "" {
				in.User = p.Name
			}
			return target{owner: in.User}, nil
		},
		func(ctx context.Context, in *tokenQuery) (*body[Page[identity.Token]], error) {
			user := in.User
			if user == "*" {
				user = ""
			}
			all, err := s.Tokens(ctx, user)
			if err != nil {
				return nil, err
			}
			page, err := pageOf(all, in.Paging, listID("tokens", in.User), false, func(t identity.Token) string { return t.ID })
			return &body[Page[identity.Token]]{page}, err
		})
	create := route("create-token", http.MethodPost, "/api/v1/tokens", tag, "Make an API token", http.StatusNotFound, http.StatusUnprocessableEntity)
	create.DefaultStatus = http.StatusCreated
	handle(a, create, need{kind: own, verb: "create", resource: resource, sealed: true},
		func(ctx context.Context, in *body[NewToken]) (target, error) {
			if p, _ := Caller(ctx); in.Body.User == "" {
				in.Body.User = p.Name
			}
			return target{owner: in.Body.User, name: in.Body.User}, nil
		},
		func(ctx context.Context, in *body[NewToken]) (*body[CreatedToken], error) {
			life, err := time.ParseDuration(in.Body.ExpiresIn)
			if err != nil {
				return nil, fmt.Errorf("expiresIn %q is not a time like 24h: %w", in.Body.ExpiresIn, problem.ErrInvalid)
			}
			if len(in.Body.Scopes) == 0 {
				in.Body.Scopes = []string{"*"}
			}
			p, _ := Caller(ctx)
			if !p.Covers(in.Body.Scopes, in.Body.Projects) {
				return nil, errNarrow
			}
			t, secret, err := s.CreateToken(ctx, identity.NewToken{User: in.Body.User, Name: in.Body.Name, Scopes: in.Body.Scopes, Projects: in.Body.Projects, Life: life})
			if err != nil {
				return nil, err
			}
			return &body[CreatedToken]{CreatedToken{t, secret}}, nil
		})
	revoke := route("revoke-token", http.MethodDelete, "/api/v1/tokens/{id}", tag, "Revoke an API token: it ends at once", http.StatusNotFound)
	revoke.DefaultStatus = http.StatusNoContent
	handle(a, revoke, need{kind: own, verb: "delete", resource: resource, hidden: true},
		func(ctx context.Context, in *tokenPath) (target, error) {
			t, err := s.Token(ctx, in.ID)
			return target{owner: t.User, name: in.ID}, err
		},
		func(ctx context.Context, in *tokenPath) (*struct{}, error) { return nil, s.RevokeToken(ctx, in.ID) })
}
