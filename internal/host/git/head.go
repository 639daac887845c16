package git

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// headBranch returns the branch that HEAD of the repository points to.
func (s *Server) headBranch(name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(s.dir(name), "HEAD"))
	if err != nil {
		return "", err
	}
	branch, ok := strings.CutPrefix(strings.TrimSpace(string(b)), "ref: refs/heads/")
	if !ok {
		return "", fmt.Errorf("HEAD is %q, not a branch", strings.TrimSpace(string(b)))
	}
	return branch, nil
}

// pointHead lets HEAD follow the first push: a repository whose default branch
// does not exist gets the one that was pushed, so that a clone checks it out.
func (s *Server) pointHead(ctx context.Context, name string, refs map[string]string) error {
	branch, err := s.headBranch(name)
	if err != nil {
		return fmt.Errorf("read HEAD of %s: %w", name, err)
	}
	target, ok := headTarget(branch, refs)
	if !ok {
		return nil
	}
	_, err = s.git.output(ctx, s.dir(name), 1<<10, nil, "symbolic-ref", "HEAD", "refs/heads/"+target)
	return err
}

// headTarget picks the default branch when the one that is set does not exist.
func headTarget(current string, refs map[string]string) (branch string, change bool) {
	first := ""
	for _, want := range []string{current, DefaultBranch, "master"} {
		if _, ok := refs["refs/heads/"+want]; ok {
			return want, want != current
		}
	}
	for ref := range refs {
		if b, ok := strings.CutPrefix(ref, "refs/heads/"); ok && (first == "" || b < first) {
			first = b
		}
	}
	return first, first != ""
}
