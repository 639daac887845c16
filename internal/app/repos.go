package app

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/penstock-dev/penstock/internal/ci/runs"
	"github.com/penstock-dev/penstock/internal/face/api"
	"github.com/penstock-dev/penstock/internal/host/access"
	"github.com/penstock-dev/penstock/internal/host/git"
	"github.com/penstock-dev/penstock/internal/host/identity"
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

// Import implements api.Mirrors.
func (f repoFace) Import(ctx context.Context, in api.Import, every time.Duration) (api.Repo, error) {
	remote := git.Remote{URL: in.URL, Username: in.Username, Password: in.Password}
	if every > 0 {
		r, err := f.git.CreateMirror(ctx, in.Name, remote, every)
		return showRepo(r), err
	}
	r, err := f.git.Import(ctx, in.Name, remote)
	return showRepo(r), err
}

// Sync implements api.Mirrors.
func (f repoFace) Sync(ctx context.Context, name string) (api.Repo, error) {
	r, err := f.git.SyncMirror(ctx, name)
	return showRepo(r), err
}

// StopMirror implements api.Mirrors.
func (f repoFace) StopMirror(ctx context.Context, name string) error {
	return f.git.StopMirror(ctx, name)
}

func showRepo(r git.Repo) api.Repo {
	out := api.Repo{Name: r.Name, CloneURL: r.CloneURL, DefaultBranch: r.DefaultBranch, CreatedAt: r.CreatedAt}
	if m := r.Mirror; m != nil {
		out.Mirror = &api.Mirror{URL: m.URL, Every: m.Every.String(), TriedAt: m.TriedAt, FetchedAt: m.FetchedAt, Error: m.Error}
	}
	return out
}

// repoRules tells the Git host what rules of protected branches ask about: the
// roles of users, and the results of CI jobs. CI is made after the Git host.
type repoRules struct {
	keeper   *identity.Keeper
	reviewer *access.Reviewer
	ci       atomic.Pointer[runs.Service]
}

// machineAdmin is the name of whoever holds the admin token, which no user has.
const machineAdmin = "admin"

// HasRole implements git.Roles: a role in all projects, or in the repository's.
// This machine's admin has every role.
func (r *repoRules) HasRole(ctx context.Context, user, repo, role string) (bool, error) {
	if user == machineAdmin {
		return true, nil
	}
	users, err := r.keeper.Users(ctx)
	if err != nil {
		return false, err
	}
	i := slices.IndexFunc(users, func(u identity.User) bool { return u.Name == user })
	if i < 0 {
		return false, nil // a CI job has no roles
	}
	if slices.Contains(users[i].Roles, role) {
		return true, nil
	}
	grants, err := r.reviewer.Grants(ctx, identity.Principal{Name: machineAdmin, Admin: true}, user)
	if err != nil {
		return false, err
	}
	owner, _, _ := strings.Cut(repo, "/")
	return slices.Contains(grants, access.Grant{User: user, Role: role, Project: owner}), nil
}

// Passed implements git.Statuses.
func (r *repoRules) Passed(ctx context.Context, repo, commit, check string) (bool, error) {
	ci := r.ci.Load()
	if ci == nil {
		return false, errors.New("results of CI are not known yet")
	}
	return ci.Passed(ctx, repo, commit, check)
}
