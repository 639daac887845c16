package git

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// part is one half of a repository's name. It cannot be a path of its own
// ("..", ".git"), an option ("-x") or differ only by case from another, and it
// can be part of an image name.
var part = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9._-]{0,98}[a-z0-9])?$`)

// reserved owners are the first segments of the server's other addresses, and
// the owner of the node's own images, and those that hold images for everybody.
var reserved = map[string]bool{
	"api": true, "assets": true, "git": true, "library": true, "livez": true, "login": true, "logout": true, "mirror": true, "penstock": true,
	"prometheus": true, "readyz": true, "v2": true, "version": true,
}

// CheckName says what is wrong with name as the name of a repository, wrapped
// in problem.ErrInvalid.
func CheckName(name string) error {
	owner, repo, ok := strings.Cut(name, "/")
	if !ok {
		return fmt.Errorf("repository name %q is not of the form owner/name: %w", name, problem.ErrInvalid)
	}
	for _, p := range []string{owner, repo} {
		if !part.MatchString(p) || strings.Contains(p, "..") {
			return fmt.Errorf("repository name %q: %q is not made of 1 to 100 of a-z, 0-9, '.', '_' and '-', with a letter or digit at both ends and no '..': %w", name, p, problem.ErrInvalid)
		}
		if strings.HasSuffix(p, ".git") {
			return fmt.Errorf("repository name %q: leave out \".git\": %w", name, problem.ErrInvalid)
		}
	}
	if reserved[owner] {
		return fmt.Errorf("repository name %q: owner %q is reserved: %w", name, owner, problem.ErrInvalid)
	}
	return nil
}
