package api

import (
	"context"
	"net/http"
)

// ImageAlias maps the name of an image in another registry to a repository of
// images here.
type ImageAlias struct {
	Name       string `json:"name" doc:"registry and repository, or both up to /*" example:"docker.io/library/busybox" minLength:"3" maxLength:"255"`
	Repository string `json:"repository" doc:"repository here; with /* when the name has it" example:"demo/busybox" minLength:"1" maxLength:"255"`
}

// Images is what the routes of images need. Those of images themselves are the
// registry's, under /v2/.
type Images interface {
	Aliases() []ImageAlias // sorted by name
	SetAlias(a ImageAlias) (ImageAlias, error)
	RemoveAlias(name string) error
}

type aliasQuery struct {
	Name string `query:"name" required:"true" maxLength:"255" doc:"name of the alias"`
}

// Images registers /api/v1/image-aliases.
func (a *API) Images(s Images) {
	const tag, resource = "images", "images/aliases"
	handle(a, route("list-image-aliases", http.MethodGet, "/api/v1/image-aliases", tag, "List the aliases of images in other registries", http.StatusUnprocessableEntity),
		need{verb: "list", resource: "images"}, nil,
		func(_ context.Context, in *Paging) (*body[Page[ImageAlias]], error) {
			page, err := pageOf(s.Aliases(), *in, listID("image-aliases"), false, func(a ImageAlias) string { return a.Name })
			return &body[Page[ImageAlias]]{page}, err
		})
	handle(a, route("set-image-alias", http.MethodPut, "/api/v1/image-aliases", tag, "Add an alias, or change the one of that name", http.StatusUnprocessableEntity),
		need{verb: "update", resource: resource}, func(_ context.Context, in *body[ImageAlias]) (target, error) { return target{name: in.Body.Name}, nil },
		func(_ context.Context, in *body[ImageAlias]) (*body[ImageAlias], error) {
			alias, err := s.SetAlias(in.Body)
			return &body[ImageAlias]{alias}, err
		})
	remove := route("delete-image-alias", http.MethodDelete, "/api/v1/image-aliases", tag, "Remove an alias", http.StatusNotFound, http.StatusUnprocessableEntity)
	remove.DefaultStatus = http.StatusNoContent
	handle(a, remove, need{verb: "delete", resource: resource}, func(_ context.Context, in *aliasQuery) (target, error) { return target{name: in.Name}, nil },
		func(_ context.Context, in *aliasQuery) (*struct{}, error) {
			return nil, s.RemoveAlias(in.Name)
		})
}
