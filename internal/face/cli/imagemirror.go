package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/face/client"
)

func newImageMirror(g *Globals) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "mirror NAME...",
		Short: "Fetch images of other registries now, so that they are here without a network",
		Long: `Fetch images of other registries into this machine's, which keeps them. It would
fetch them anyway when a Pod or a build asks; what is here is served without a
network, too.`,
		Example: `  penstock image mirror busybox:1.36 ghcr.io/org/app:1
  penstock image mirror --all-platforms alpine`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := g.Client()
			if err != nil {
				return err
			}
			m := mirror{client: cl, all: all, want: platforms.Only(ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH})}
			var done []mirrored
			for _, name := range args {
				one, err := m.fetch(c.Context(), name)
				if err != nil {
					return &problem.Error{Op: "mirror", Subject: name, Err: err}
				}
				done = append(done, one)
			}
			return g.Print(done, func(w io.Writer) {
				fmt.Fprintln(w, "NAME\tDIGEST\tSIZE")
				for _, d := range done {
					fmt.Fprintf(w, "%s\t%.19s\t%s\n", d.Name, d.Digest, size(d.Size))
				}
			})
		},
	}
	c.Flags().BoolVar(&all, "all-platforms", false, "fetch the image for every platform, not for this machine's only")
	return c
}

// mirrored is an image that is here now.
type mirrored struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"` // of its content
}

// mirror reads images from the registry, which fetches them for it.
type mirror struct {
	client *client.Client
	all    bool
	want   platforms.MatchComparer
}

func (m mirror) fetch(ctx context.Context, text string) (mirrored, error) {
	ref, err := reference.ParseDockerRef(text)
	if err != nil {
		return mirrored{}, fmt.Errorf("%w: %w", problem.ErrUsage, err)
	}
	// A host's colon is an underscore in the name of a repository.
	base := "/v2/mirror/" + strings.Replace(reference.Domain(ref), ":", "_", 1) + "/" + reference.Path(ref)
	what := "latest"
	if t, ok := ref.(reference.Tagged); ok {
		what = t.Tag()
	}
	if d, ok := ref.(reference.Digested); ok {
		what = d.Digest().String()
	}
	out := mirrored{Name: ref.String()}
	top, err := m.manifest(ctx, base, what, &out)
	if err != nil {
		return mirrored{}, err
	}
	out.Digest = top.digest
	if top.Manifests == nil {
		return out, m.blobs(ctx, base, top, &out)
	}
	found := false
	for _, d := range top.Manifests {
		if !m.all && (d.Platform == nil || !m.want.Match(*d.Platform)) {
			continue
		}
		found = true
		child, err := m.manifest(ctx, base, d.Digest.String(), &out)
		if err != nil {
			return mirrored{}, err
		}
		if err := m.blobs(ctx, base, child, &out); err != nil {
			return mirrored{}, err
		}
	}
	if !found {
		return mirrored{}, fmt.Errorf("there is no image for linux/%s in it: %w", runtime.GOARCH, problem.ErrNotFound)
	}
	return out, nil
}

// manifestOf is an image or an index.
type manifestOf struct {
	Config    *ocispec.Descriptor  `json:"config"`
	Layers    []ocispec.Descriptor `json:"layers"`
	Manifests []ocispec.Descriptor `json:"manifests"`
	digest    string
}

// maxManifest is what a registry takes.
const maxManifest = 4 << 20

func (m mirror) manifest(ctx context.Context, base, what string, out *mirrored) (manifestOf, error) {
	body, err := m.client.Stream(ctx, http.MethodGet, base+"/manifests/"+what, nil, "")
	if err != nil {
		return manifestOf{}, err
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, maxManifest))
	if err != nil {
		return manifestOf{}, fmt.Errorf("read manifest: %w", err)
	}
	out.Size += int64(len(b))
	var got manifestOf
	if err := json.Unmarshal(b, &got); err != nil {
		return manifestOf{}, fmt.Errorf("read manifest: %w", err)
	}
	got.digest = digest.FromBytes(b).String()
	return got, nil
}

// blobs reads every blob to its end, which is when the registry has it.
func (m mirror) blobs(ctx context.Context, base string, of manifestOf, out *mirrored) error {
	list := of.Layers
	if of.Config != nil {
		list = append(list, *of.Config)
	}
	for _, d := range list {
		if len(d.URLs) > 0 {
			continue // it is somewhere else by design
		}
		body, err := m.client.Stream(ctx, http.MethodGet, base+"/blobs/"+d.Digest.String(), nil, "")
		if err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, body)
		body.Close()
		if err != nil {
			return fmt.Errorf("read %s: %w", d.Digest, err)
		}
		out.Size += n
	}
	return nil
}
