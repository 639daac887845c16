package storage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// MaxManifest bounds a manifest, as the specification proposes.
const MaxManifest = 4 << 20

// Media types of Docker's, which are older than OCI's and mean the same.
const (
	dockerManifest   = "application/vnd.docker.distribution.manifest.v2+json"
	dockerIndex      = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerOldSigned  = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	dockerOld        = "application/vnd.docker.distribution.manifest.v1+json"
	dockerForeign    = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
	ociForeignPrefix = "application/vnd.oci.image.layer.nondistributable."
)

// references are what a manifest says about other content.
type references struct {
	mediaType    string
	artifactType string
	annotations  map[string]string
	subject      digest.Digest   // "" without one
	blobs        []digest.Digest // the repository must have them
	manifests    []digest.Digest // the same
	others       []digest.Digest // kept when they are there
}

// parseManifest reads a manifest that was pushed as mediaType, "" if the
// client did not say. A kind that it does not know is taken for an object
// whose descriptors, wherever they stand, are worth keeping.
func parseManifest(mediaType string, data []byte) (references, error) {
	var m struct {
		SchemaVersion int                  `json:"schemaVersion"`
		MediaType     string               `json:"mediaType"`
		ArtifactType  string               `json:"artifactType"`
		Annotations   map[string]string    `json:"annotations"`
		Config        *ocispec.Descriptor  `json:"config"`
		Layers        []ocispec.Descriptor `json:"layers"`
		Manifests     []ocispec.Descriptor `json:"manifests"`
		Subject       *ocispec.Descriptor  `json:"subject"`
	}
	bad := func(format string, a ...any) (references, error) {
		return references{}, fmt.Errorf("%w: "+format, append([]any{ErrManifestInvalid}, a...)...)
	}
	if text := bytes.TrimSpace(data); len(text) == 0 || text[0] != '{' {
		return bad("it is not a JSON object")
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return bad("%w", err)
	}
	if mediaType == "" {
		mediaType = m.MediaType
	}
	if mediaType == "" {
		return bad("neither Content-Type nor a field mediaType says of what type it is")
	}
	if m.MediaType != "" && m.MediaType != mediaType {
		return bad("it was sent as %q and says that it is %q", mediaType, m.MediaType)
	}
	r := references{mediaType: mediaType, artifactType: m.ArtifactType, annotations: m.Annotations}
	var err error
	switch mediaType {
	case ocispec.MediaTypeImageManifest, dockerManifest:
		switch {
		case m.SchemaVersion != 2:
			return bad("schemaVersion is %d, not 2", m.SchemaVersion)
		case m.Config == nil:
			return bad("it has no config")
		case m.Manifests != nil:
			// What such a document is would depend on who reads it.
			return bad("an image manifest has no field manifests")
		}
		if r.artifactType == "" {
			r.artifactType = m.Config.MediaType
		}
		r.blobs, r.others, err = layerDigests(append([]ocispec.Descriptor{*m.Config}, m.Layers...))
	case ocispec.MediaTypeImageIndex, dockerIndex:
		switch {
		case m.SchemaVersion != 2:
			return bad("schemaVersion is %d, not 2", m.SchemaVersion)
		case m.Config != nil || m.Layers != nil:
			return bad("an index has no fields config and layers")
		}
		r.manifests, r.others, err = layerDigests(m.Manifests)
	case dockerOld, dockerOldSigned:
		return bad("manifests of schema version 1 are not served: push with a client of this decade")
	default:
		r.others = looseDigests(data)
	}
	if err != nil {
		return references{}, err
	}
	if m.Subject != nil {
		if r.subject, err = checkDescriptor(*m.Subject); err != nil {
			return references{}, fmt.Errorf("subject: %w", err)
		}
	}
	return r, nil
}

// layerDigests returns the digests of descriptors, apart from those whose
// content is somewhere else by design.
func layerDigests(list []ocispec.Descriptor) (needed, elsewhere []digest.Digest, err error) {
	for _, d := range list {
		got, err := checkDescriptor(d)
		if err != nil {
			return nil, nil, err
		}
		if len(d.URLs) > 0 || d.MediaType == dockerForeign || len(d.MediaType) > len(ociForeignPrefix) && d.MediaType[:len(ociForeignPrefix)] == ociForeignPrefix {
			elsewhere = append(elsewhere, got)
			continue
		}
		needed = append(needed, got)
	}
	return unique(needed), unique(elsewhere), nil
}

func checkDescriptor(d ocispec.Descriptor) (digest.Digest, error) {
	got, err := ParseDigest(string(d.Digest))
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrManifestInvalid, err)
	}
	if d.Size < 0 {
		return "", fmt.Errorf("%w: %s has size %d", ErrManifestInvalid, got, d.Size)
	}
	return got, nil
}

// looseDigests finds every value of a field called digest that is one.
func looseDigests(data []byte) []digest.Digest {
	var root any
	if json.Unmarshal(data, &root) != nil {
		return nil
	}
	found := map[digest.Digest]bool{}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			if text, ok := v["digest"].(string); ok {
				if d, err := ParseDigest(text); err == nil {
					found[d] = true
				}
			}
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(root)
	return slices.Sorted(maps.Keys(found))
}

func unique(list []digest.Digest) []digest.Digest {
	slices.Sort(list)
	return slices.Compact(list)
}
