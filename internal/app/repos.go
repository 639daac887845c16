package app

import (
	"context"

	"github.com/penstock-dev/penstock/internal/face/api"
	"github.com/penstock-dev/penstock/internal/host/git"
)

// repoFace shows the Git host to the API.
type repoFace struct{ git *git.Server }

func (f repoFace) Create(ctx context.Context, name string) (api.Repo, error) {
	r, err := f.git.Create(ctx, name)
	return showRepo(r), err
}

func (f repoFace) Get(ctx context.Context, name string) (api.Repo, error) {
	r, err := f.git.Get(ctx, name)
	return showRepo(r), err
}

func (f repoFace) List(ctx context.Context) ([]api.Repo, error) {
	repos, err := f.git.List(ctx)
	out := make([]api.Repo, len(repos))
	for i, r := range repos {
		out[i] = showRepo(r)
	}
	return out, err
}

func (f repoFace) Delete(ctx context.Context, name string) error { return f.git.Delete(ctx, name) }

func showRepo(r git.Repo) api.Repo {
	return api.Repo{Name: r.Name, CloneURL: r.CloneURL, DefaultBranch: r.DefaultBranch, CreatedAt: r.CreatedAt}
}
