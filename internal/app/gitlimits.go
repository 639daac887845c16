package app

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// gitLimits are sizes that the Git host takes, as quantities ("2Gi"); empty is
// its default.
type gitLimits struct{ push, file, repository string }

func (l *gitLimits) add(f *pflag.FlagSet) {
	f.StringVar(&l.push, "git-max-push", os.Getenv("PENSTOCK_GIT_MAX_PUSH"), "largest push, a `size` as in 2Gi ($PENSTOCK_GIT_MAX_PUSH)")
	f.StringVar(&l.file, "git-max-file", os.Getenv("PENSTOCK_GIT_MAX_FILE"), "largest file in a push, a `size` as in 100Mi ($PENSTOCK_GIT_MAX_FILE)")
	f.StringVar(&l.repository, "git-max-repository", os.Getenv("PENSTOCK_GIT_MAX_REPOSITORY"), "most that a repository's objects may take, a `size` as in 20Gi ($PENSTOCK_GIT_MAX_REPOSITORY)")
}

// bytes reads the sizes.
func (l *gitLimits) bytes() (push, file, repository int64, err error) {
	read := func(flag, text string) int64 {
		if text == "" {
			return 0
		}
		q, qerr := resource.ParseQuantity(text)
		n, whole := q.AsInt64()
		if qerr != nil || !whole || n <= 0 {
			err = errors.Join(err, fmt.Errorf("--%s %q is no size as in 100Mi: %w", flag, text, problem.ErrInvalid))
			return 0
		}
		return n
	}
	push = read("git-max-push", l.push)
	file = read("git-max-file", l.file)
	repository = read("git-max-repository", l.repository)
	return push, file, repository, err
}
