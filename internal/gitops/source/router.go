package source

import (
	"context"
	"fmt"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Host is a Git server of our own: repositories have names there, and some
// URLs mean them.
type Host interface {
	Hosted(url string) (repo string, ok bool)
	Resolve(ctx context.Context, repo, rev string) (commit string, err error)
	Export(ctx context.Context, repo, commit, dst string) error
}

// Hosted serves the repositories of our own Git server by their URLs.
type Hosted struct{ Host Host }

var _ Git = Hosted{}

// Resolve implements [Git].
func (h Hosted) Resolve(ctx context.Context, repoURL, revision string) (string, error) {
	repo, err := h.repo(repoURL)
	if err != nil {
		return "", err
	}
	return h.Host.Resolve(ctx, repo, revision)
}

// Export implements [Git].
func (h Hosted) Export(ctx context.Context, repoURL, commit, dst string) error {
	repo, err := h.repo(repoURL)
	if err != nil {
		return err
	}
	return h.Host.Export(ctx, repo, commit, dst)
}

func (h Hosted) repo(url string) (string, error) {
	repo, ok := h.Host.Hosted(url)
	if !ok {
		return "", fmt.Errorf("repository %s is not hosted here, and this version does not fetch from other Git servers: %w", url, problem.ErrInvalid)
	}
	return repo, nil
}
