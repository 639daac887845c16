package storage

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// What can be wrong with a request. They are the error codes of the
// distribution specification, and some of our own.
var (
	ErrNameInvalid     = errors.New("invalid repository name")
	ErrNameUnknown     = errors.New("repository name not known to registry")
	ErrBlobUnknown     = errors.New("blob unknown to registry")
	ErrManifestUnknown = errors.New("manifest unknown to registry")
	ErrManifestInvalid = errors.New("manifest invalid")
	ErrDigestInvalid   = errors.New("digest invalid")
	ErrSizeInvalid     = errors.New("provided length did not match content length")
	ErrUploadUnknown   = errors.New("blob upload unknown to registry")
	ErrUploadBusy      = errors.New("another request is writing to this upload")
	ErrUploadsFull     = errors.New("too many uploads are under way")
	ErrRange           = errors.New("the chunk does not follow what was uploaded")
	ErrTooLarge        = errors.New("the content is too large")
	ErrBroken          = errors.New("the request broke off")
	ErrInUse           = errors.New("a manifest of the repository needs this blob")
)

// MissingError says which content a manifest needs that its repository lacks.
type MissingError struct{ Digests []digest.Digest }

func (e *MissingError) Error() string {
	var names []string
	for _, d := range e.Digests {
		names = append(names, d.String())
	}
	return fmt.Sprintf("the manifest references content that the repository does not have: %s", strings.Join(names, ", "))
}
