package build

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Result is a finished build.
type Result struct {
	// Digest names the image: its manifest, or its index when it is for
	// several platforms. Empty when no output was an image.
	Digest       string   `json:"digest,omitempty"`
	ConfigDigest string   `json:"configDigest,omitempty"`
	Names        []string `json:"names,omitempty"`
	// Platforms has the manifest of each platform.
	Platforms []PlatformImage `json:"platforms,omitempty"`

	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	Steps    int       `json:"steps"`  // steps of the Dockerfile and around it
	Cached   int       `json:"cached"` // of those, taken from the cache
	Attempts int       `json:"attempts"`

	// Metadata is what buildx writes into a metadata file.
	Metadata map[string]any `json:"-"`
}

// PlatformImage is the image for one platform.
type PlatformImage struct {
	Platform  string `json:"platform"`
	Digest    string `json:"digest"`
	MediaType string `json:"mediaType"`
	Size      int64  `json:"size"` // of the manifest
}

// readResult reads the answer of the builder. The index of an image for
// several platforms is still there to be asked for.
func readResult(ctx context.Context, c *client.Client, answer map[string]string, r Request) (Result, error) {
	res := Result{
		Digest:       answer[exptypes.ExporterImageDigestKey],
		ConfigDigest: answer[exptypes.ExporterImageConfigDigestKey],
		Names:        r.names(),
		Metadata:     map[string]any{},
	}
	for k, v := range answer {
		res.Metadata[k] = v
	}
	raw := answer[exptypes.ExporterImageDescriptorKey]
	if raw == "" {
		return res, nil
	}
	b, err := base64.StdEncoding.DecodeString(raw)
	if err != nil {
		return Result{}, fmt.Errorf("read image descriptor: %w", err)
	}
	var desc ocispecs.Descriptor
	if err := json.Unmarshal(b, &desc); err != nil {
		return Result{}, fmt.Errorf("read image descriptor: %w", err)
	}
	res.Metadata[exptypes.ExporterImageDescriptorKey] = desc
	manifests := []ocispecs.Descriptor{desc}
	if isIndex(desc.MediaType) {
		b, err := content.ReadBlob(ctx, proxy.NewContentStore(c.ContentClient()), desc)
		if err != nil {
			return Result{}, fmt.Errorf("read image index: %w", err)
		}
		var index ocispecs.Index
		if err := json.Unmarshal(b, &index); err != nil {
			return Result{}, fmt.Errorf("read image index: %w", err)
		}
		manifests = index.Manifests
	}
	for _, m := range manifests {
		p := PlatformImage{Digest: m.Digest.String(), MediaType: m.MediaType, Size: m.Size}
		if m.Platform != nil {
			p.Platform = platforms.FormatAll(platforms.Normalize(*m.Platform))
		}
		res.Platforms = append(res.Platforms, p)
	}
	return res, nil
}

func isIndex(mediaType string) bool {
	return mediaType == ocispecs.MediaTypeImageIndex || mediaType == "application/vnd.docker.distribution.manifest.list.v2+json"
}
