package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Mirror says how a repository follows an outside one.
type Mirror struct {
	URL       string    `json:"url" example:"https://github.com/acme/shop.git"`
	Every     string    `json:"every" example:"5m0s" doc:"pause between two fetches"`
	TriedAt   time.Time `json:"triedAt,omitzero" doc:"end of the last fetch"`
	FetchedAt time.Time `json:"fetchedAt,omitzero" doc:"end of the last fetch that succeeded"`
	Error     string    `json:"error,omitempty" doc:"of the last fetch"`
}

// Import asks for a repository with the contents of an outside one.
type Import struct {
	Name     string `json:"name" doc:"owner/name of the new repository" example:"demo/shop" minLength:"3" maxLength:"201"`
	URL      string `json:"url" doc:"http or https, without credentials" example:"https://github.com/acme/shop.git" minLength:"1" maxLength:"2048"`
	Username string `json:"username,omitempty" maxLength:"1000"`
	Password string `json:"password,omitempty" maxLength:"60000" doc:"or token; kept only for a mirror, apart from the database"`
	Every    string `json:"every,omitempty" example:"5m" maxLength:"20" doc:"makes a mirror, which is fetched again so often and takes no pushes; without it the copy is made once"`
}

// Mirrors is what the routes of imports and mirrors need.
type Mirrors interface {
	Import(ctx context.Context, in Import, every time.Duration) (Repo, error)
	Sync(ctx context.Context, name string) (Repo, error)
	StopMirror(ctx context.Context, name string) error
}

// Mirrors registers the routes of imports and mirrors.
func (a *API) Mirrors(s Mirrors) {
	const tag, resource = "repositories", "repositories"
	create := route("import-repo", http.MethodPost, "/api/v1/repos/import", tag, "Create a repository with all refs of an outside one", http.StatusConflict, http.StatusUnprocessableEntity)
	create.DefaultStatus = http.StatusCreated
	create.MaxBodyBytes = 128 << 10
	handle(a, create, need{verb: "create", resource: resource},
		func(_ context.Context, in *body[Import]) (target, error) {
			owner, name, _ := strings.Cut(in.Body.Name, "/")
			return target{project: owner, name: name}, nil
		},
		func(ctx context.Context, in *body[Import]) (*body[Repo], error) {
			var every time.Duration
			if in.Body.Every != "" {
				var err error
				if every, err = time.ParseDuration(in.Body.Every); err != nil || every <= 0 {
					return nil, fmt.Errorf("every %q is no duration as in 5m: %w", in.Body.Every, problem.ErrInvalid)
				}
			}
			repo, err := s.Import(ctx, in.Body, every)
			return &body[Repo]{repo}, err
		})
	handle(a, route("sync-repo", http.MethodPost, "/api/v1/repos/{owner}/{name}/mirror/sync", tag, "Fetch a mirror now, and wait for it", http.StatusNotFound),
		need{verb: "update", resource: "repositories/content"}, inPath,
		func(ctx context.Context, in *repoPath) (*body[Repo], error) {
			repo, err := s.Sync(ctx, in.String())
			return &body[Repo]{repo}, err
		})
	stop := route("stop-mirror", http.MethodDelete, "/api/v1/repos/{owner}/{name}/mirror", tag, "Make a mirror a repository of its own, which takes pushes", http.StatusNotFound)
	stop.DefaultStatus = http.StatusNoContent
	handle(a, stop, need{verb: "create", resource: resource}, inPath,
		func(ctx context.Context, in *repoPath) (*struct{}, error) { return nil, s.StopMirror(ctx, in.String()) })
}
