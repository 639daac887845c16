package images

import (
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/distribution/reference"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestAlone: removing a tag takes the name by digest with it, but not while
// another tag of the repository means the same image.
func TestAlone(t *testing.T) {
	a, b := digest.FromString("a"), digest.FromString("b")
	img := func(name string, d digest.Digest) images.Image {
		return images.Image{Name: name, Target: ocispec.Descriptor{Digest: d}}
	}
	const repo = "penstock.localhost:7080/demo/shop"
	byDigest := repo + "@" + a.String()
	for name, tc := range map[string]struct {
		list []images.Image
		ref  string
		want []string
	}{
		"only tag":         {[]images.Image{img(repo+":1", a), img(byDigest, a)}, repo + ":1", []string{byDigest, repo + ":1"}},
		"another tag":      {[]images.Image{img(repo+":1", a), img(repo+":2", a), img(byDigest, a)}, repo + ":1", []string{repo + ":1"}},
		"other image":      {[]images.Image{img(repo+":1", a), img(repo+":2", b), img(byDigest, a)}, repo + ":1", []string{byDigest, repo + ":1"}},
		"other repository": {[]images.Image{img(repo+":1", a), img(repo+"2:1", a), img(byDigest, a)}, repo + ":1", []string{byDigest, repo + ":1"}},
		"the digest":       {[]images.Image{img(repo+":1", a), img(byDigest, a)}, byDigest, []string{byDigest}},
		"identities":       {[]images.Image{img(repo+":1", a), img(a.String(), a), img(byDigest, a)}, repo + ":1", []string{byDigest, repo + ":1"}},
	} {
		ref, err := reference.ParseDockerRef(tc.ref)
		if err != nil {
			t.Fatal(err)
		}
		if got := alone(tc.list, ref, a); !slices.Equal(got, tc.want) {
			t.Errorf("%s: removes %v, want %v", name, got, tc.want)
		}
	}
}
