package api

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Repo is a hosted Git repository.
type Repo struct {
	Name          string    `json:"name" doc:"owner/name" example:"demo/shop"`
	CloneURL      string    `json:"cloneUrl" example:"http://penstock.localhost:7080/git/demo/shop.git"`
	DefaultBranch string    `json:"defaultBranch" example:"main"`
	CreatedAt     time.Time `json:"createdAt"`
	Mirror        *Mirror   `json:"mirror,omitempty" doc:"of a repository that follows an outside one"`
}

// NewRepo asks for a repository.
type NewRepo struct {
	Name string `json:"name" doc:"owner/name" example:"demo/shop" minLength:"3" maxLength:"201"`
}

// Repos is what the routes of repositories need.
type Repos interface {
	Create(ctx context.Context, name string) (Repo, error)
	Get(ctx context.Context, name string) (Repo, error)
	List(ctx context.Context) ([]Repo, error)
	Delete(ctx context.Context, name string) error
}

type repoPath struct {
	Owner string `path:"owner" maxLength:"100"`
	Name  string `path:"name" maxLength:"100"`
}

func (p repoPath) String() string { return p.Owner + "/" + p.Name }

// RepoSort is the order of the list of repositories.
type RepoSort struct {
	Sort string `query:"sort" enum:"name,-name,createdAt,-createdAt" default:"name"`
}

func (s RepoSort) key(r Repo) string {
	if strings.HasSuffix(s.Sort, "createdAt") {
		return r.CreatedAt.UTC().Format("2006-01-02T15:04:05.000000000") + " " + r.Name
	}
	return r.Name
}

// Repos registers /api/v1/repos.
func (a *API) Repos(s Repos) {
	const tag, resource = "repositories", "repositories"
	handle(a, route("list-repos", http.MethodGet, "/api/v1/repos", tag, "List repositories", http.StatusUnprocessableEntity),
		need{verb: "list", resource: resource, scoped: true},
		func(_ context.Context, in *repoQuery) (target, error) { return target{project: in.Owner}, nil },
		func(ctx context.Context, in *repoQuery) (*body[Page[Repo]], error) {
			all, err := s.List(ctx)
			if err != nil {
				return nil, err
			}
			all = slices.DeleteFunc(slices.Clone(all), func(r Repo) bool {
				owner, _, _ := strings.Cut(r.Name, "/")
				return in.Owner != "" && owner != in.Owner || !sees(ctx, owner)
			})
			page, err := pageOf(all, in.Paging, listID("repos", in.Owner, in.Sort), in.Sort[0] == '-', in.key)
			return &body[Page[Repo]]{page}, err
		})
	create := route("create-repo", http.MethodPost, "/api/v1/repos", tag, "Create an empty repository", http.StatusConflict, http.StatusUnprocessableEntity)
	create.DefaultStatus = http.StatusCreated
	handle(a, create, need{verb: "create", resource: resource},
		func(_ context.Context, in *body[NewRepo]) (target, error) {
			owner, name, _ := strings.Cut(in.Body.Name, "/")
			return target{project: owner, name: name}, nil
		},
		func(ctx context.Context, in *body[NewRepo]) (*body[Repo], error) {
			repo, err := s.Create(ctx, in.Body.Name)
			return &body[Repo]{repo}, err
		})
	handle(a, route("get-repo", http.MethodGet, "/api/v1/repos/{owner}/{name}", tag, "Show a repository", http.StatusNotFound),
		need{verb: "get", resource: resource}, inPath,
		func(ctx context.Context, in *repoPath) (*body[Repo], error) {
			repo, err := s.Get(ctx, in.String())
			return &body[Repo]{repo}, err
		})
	remove := route("delete-repo", http.MethodDelete, "/api/v1/repos/{owner}/{name}", tag, "Delete a repository with all it holds", http.StatusNotFound)
	remove.DefaultStatus = http.StatusNoContent
	handle(a, remove, need{verb: "delete", resource: resource}, inPath,
		func(ctx context.Context, in *repoPath) (*struct{}, error) {
			return nil, s.Delete(ctx, in.String())
		})
}

type repoQuery struct {
	Paging
	RepoSort
	Owner string `query:"owner" maxLength:"100" doc:"only repositories of this owner"`
}

// inPath is the repository that the path names.
func inPath(_ context.Context, p *repoPath) (target, error) {
	return target{project: p.Owner, name: p.Name}, nil
}
