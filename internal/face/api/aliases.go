package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/penstock-dev/penstock/internal/host/git"
)

// NewAlias asks for an alias.
type NewAlias struct {
	Address    string `json:"address" example:"github.com/acme/shop" doc:"of the outside repository; scheme and .git make no difference" minLength:"1" maxLength:"300"`
	Repository string `json:"repository" example:"acme/shop" minLength:"3" maxLength:"201"`
}

// Aliases is what the routes of outside names need.
type Aliases interface {
	Aliases(ctx context.Context) ([]git.Alias, error)
	AddAlias(ctx context.Context, address, repo string) (git.Alias, error)
	RemoveAlias(ctx context.Context, address string) error
}

type aliasPath struct {
	Address string `query:"address" required:"true" minLength:"1" maxLength:"300"`
}

// Aliases registers the routes of the outside names of repositories. Who sets
// one decides for everybody what an address stands for.
func (a *API) Aliases(s Aliases) {
	const tag, path, resource = "repositories", "/api/v1/repo-aliases", "repositories/aliases"
	handle(a, route("list-aliases", http.MethodGet, path, tag, "List the outside addresses that stand for hosted repositories", http.StatusUnprocessableEntity),
		need{verb: "list", resource: "repositories", scoped: true}, nil,
		func(ctx context.Context, in *Paging) (*body[Page[git.Alias]], error) {
			all, err := s.Aliases(ctx)
			if err != nil {
				return nil, err
			}
			visible := make([]git.Alias, 0, len(all))
			for _, x := range all {
				if owner, _, _ := strings.Cut(x.Repo, "/"); sees(ctx, owner) {
					visible = append(visible, x)
				}
			}
			page, err := pageOf(visible, *in, listID("aliases"), false, func(x git.Alias) string { return x.Address })
			return &body[Page[git.Alias]]{page}, err
		})
	add := route("add-alias", http.MethodPost, path, tag, "Let an outside address stand for a hosted repository", http.StatusConflict, http.StatusNotFound, http.StatusUnprocessableEntity)
	add.DefaultStatus = http.StatusCreated
	handle(a, add, need{verb: "create", resource: resource},
		func(_ context.Context, in *body[NewAlias]) (target, error) {
			owner, name, _ := strings.Cut(in.Body.Repository, "/")
			return target{project: owner, name: name}, nil
		},
		func(ctx context.Context, in *body[NewAlias]) (*body[git.Alias], error) {
			x, err := s.AddAlias(ctx, in.Body.Address, in.Body.Repository)
			return &body[git.Alias]{x}, err
		})
	remove := route("remove-alias", http.MethodDelete, path, tag, "Remove an outside address", http.StatusNotFound, http.StatusUnprocessableEntity)
	remove.DefaultStatus = http.StatusNoContent
	handle(a, remove, need{verb: "delete", resource: resource}, nil,
		func(ctx context.Context, in *aliasPath) (*struct{}, error) {
			return nil, s.RemoveAlias(ctx, in.Address)
		})
}
