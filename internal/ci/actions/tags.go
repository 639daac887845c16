package actions

import (
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// checkTags refuses image names that belong to others. All jobs put images
// into the same node, where a name decides what Pods run: a job may use the
// names of its repository's owner, in any registry, and no others. The node's
// own images are of an owner that no repository has.
func checkTags(tags []string, repo string) error {
	owner, _, _ := strings.Cut(repo, "/")
	for _, t := range tags {
		ref, err := name.NewTag(t, name.WithDefaultTag("latest"))
		if err != nil {
			return fmt.Errorf("tag '%s': %w", t, err)
		}
		first, _, ok := strings.Cut(ref.RepositoryStr(), "/")
		if !ok || first != owner || strings.Contains(ref.RepositoryStr(), "..") {
			return fmt.Errorf("tag '%s' is not of this repository's owner: images of a job are named REGISTRY/%s/NAME", t, owner)
		}
	}
	return nil
}
