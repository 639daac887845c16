package api

import (
	"context"
	"net/http"

	"github.com/penstock-dev/penstock/internal/host/git"
)

// Protection is what the routes of protected branches need.
type Protection interface {
	Rules(ctx context.Context, repo string) ([]git.Rule, error)
	Protect(ctx context.Context, repo string, r git.Rule) error
	Unprotect(ctx context.Context, repo, pattern string) error
}

// RepoPath is repoPath where it is part of a request: huma reads exported
// fields.
type RepoPath = repoPath

type ruleBody struct {
	RepoPath
	Body git.Rule
}

type rulePath struct {
	RepoPath
	Pattern string `query:"pattern" required:"true" minLength:"1" maxLength:"255"`
}

type rulesPath struct {
	RepoPath
	Paging
}

// Protection registers the routes of protected branches.
func (a *API) Protection(s Protection) {
	const tag, path = "repositories", "/api/v1/repos/{owner}/{name}/protection"
	change := need{verb: "update", resource: "repositories/protection"}
	handle(a, route("list-protection", http.MethodGet, path, tag, "List the rules of protected branches", http.StatusNotFound, http.StatusUnprocessableEntity),
		need{verb: "get", resource: "repositories"},
		func(_ context.Context, in *rulesPath) (target, error) {
			return target{project: in.Owner, name: in.Name}, nil
		},
		func(ctx context.Context, in *rulesPath) (*body[Page[git.Rule]], error) {
			rules, err := s.Rules(ctx, in.String())
			if err != nil {
				return nil, err
			}
			page, err := pageOf(rules, in.Paging, listID("rules", in.String()), false, func(r git.Rule) string { return r.Pattern })
			return &body[Page[git.Rule]]{page}, err
		})
	put := route("protect", http.MethodPut, path, tag, "Set the rule for branches that match its pattern", http.StatusNotFound, http.StatusUnprocessableEntity)
	handle(a, put, change,
		func(_ context.Context, in *ruleBody) (target, error) {
			return target{project: in.Owner, name: in.Name}, nil
		},
		func(ctx context.Context, in *ruleBody) (*body[git.Rule], error) {
			return &body[git.Rule]{in.Body}, s.Protect(ctx, in.String(), in.Body)
		})
	remove := route("unprotect", http.MethodDelete, path, tag, "Remove the rule with a pattern", http.StatusNotFound)
	remove.DefaultStatus = http.StatusNoContent
	handle(a, remove, change,
		func(_ context.Context, in *rulePath) (target, error) {
			return target{project: in.Owner, name: in.Name}, nil
		},
		func(ctx context.Context, in *rulePath) (*struct{}, error) {
			return nil, s.Unprotect(ctx, in.String(), in.Pattern)
		})
}
