package storage

import (
	_ "crypto/sha256" // the two algorithms that a digest may have
	_ "crypto/sha512"
	"fmt"
	"regexp"
	"slices"

	"github.com/opencontainers/go-digest"
)

// maxName bounds a repository's name, with room for a host before it in the
// 255 characters that most clients take for both.
const maxName = 200

// The two forms are those of the distribution specification.
var (
	nameForm = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagForm  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

// CheckName says what is wrong with a repository's name.
func CheckName(name string) error {
	if len(name) > maxName {
		return fmt.Errorf("%w: the name is longer than %d characters", ErrNameInvalid, maxName)
	}
	if !nameForm.MatchString(name) {
		return fmt.Errorf("%w: %q is not made of lower-case letters and digits, single '.', '_' or '-' between them, and '/'", ErrNameInvalid, name)
	}
	return nil
}

// CheckTag says what is wrong with a tag.
func CheckTag(tag string) error {
	if !tagForm.MatchString(tag) {
		return fmt.Errorf("%w: %q is not a tag", ErrManifestUnknown, tag)
	}
	return nil
}

// ParseDigest reads a digest of an algorithm that is served.
func ParseDigest(text string) (digest.Digest, error) {
	d, err := digest.Parse(text)
	if err != nil {
		return "", fmt.Errorf("%w: %q: %w", ErrDigestInvalid, short(text), err)
	}
	if a := d.Algorithm(); a != digest.SHA256 && a != digest.SHA512 {
		return "", fmt.Errorf("%w: algorithm %s is not served, only sha256 and sha512", ErrDigestInvalid, a)
	}
	return d, nil
}

// short keeps what a client sent out of long error texts.
func short(text string) string {
	if len(text) > 100 {
		return text[:100] + "…"
	}
	return text
}

func sortedUnique(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}
