package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Repo is a hosted Git repository.
type Repo struct {
	Name          string    `json:"name" doc:"owner/name" example:"demo/shop"`
	CloneURL      string    `json:"cloneUrl" example:"http://penstock.localhost:7080/git/demo/shop.git"`
	DefaultBranch string    `json:"defaultBranch" example:"main"`
	CreatedAt     time.Time `json:"createdAt"`
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

type repoList struct {
	Repositories []Repo `json:"repositories" nullable:"false"`
}

// Repos registers /api/v1/repos.
func (a *API) Repos(s Repos) {
	const tag = "repositories"
	huma.Register(a.huma, route("list-repos", http.MethodGet, "/api/v1/repos", tag, "List repositories"),
		func(ctx context.Context, _ *struct{}) (*body[repoList], error) {
			repos, err := s.List(ctx)
			return &body[repoList]{repoList{repos}}, status(err)
		})
	create := route("create-repo", http.MethodPost, "/api/v1/repos", tag, "Create an empty repository", http.StatusConflict, http.StatusUnprocessableEntity)
	create.DefaultStatus = http.StatusCreated
	huma.Register(a.huma, create,
		func(ctx context.Context, in *body[NewRepo]) (*body[Repo], error) {
			repo, err := s.Create(ctx, in.Body.Name)
			return &body[Repo]{repo}, status(err)
		})
	huma.Register(a.huma, route("get-repo", http.MethodGet, "/api/v1/repos/{owner}/{name}", tag, "Show a repository", http.StatusNotFound),
		func(ctx context.Context, in *repoPath) (*body[Repo], error) {
			repo, err := s.Get(ctx, in.String())
			return &body[Repo]{repo}, status(err)
		})
	huma.Register(a.huma, route("delete-repo", http.MethodDelete, "/api/v1/repos/{owner}/{name}", tag, "Delete a repository with all it holds", http.StatusNotFound),
		func(ctx context.Context, in *repoPath) (*struct{}, error) {
			return nil, status(s.Delete(ctx, in.String()))
		})
}
