// Package images puts images into the node's containerd and takes them out. It
// is how images reach the node: as archives, without a registry.
package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/penstock-dev/penstock/node/internal/containerd"
	"github.com/penstock-dev/penstock/node/internal/fault"
)

const snapshotter = "overlayfs"

// visible is how long the CRI plugin may take to notice an image.
const visible = 10 * time.Second

// Image is one name in the store.
type Image struct {
	Name      string    `json:"name"`
	Digest    string    `json:"digest"`
	Size      int64     `json:"size"`
	CreatedAt time.Time `json:"createdAt"`
}

// ErrNotFound says that there is no such image; ErrInvalid that the archive or
// the name cannot be used.
var (
	ErrNotFound = errors.New("not found")
	ErrInvalid  = errors.New("invalid")
)

// Store is the image store of one containerd.
type Store struct {
	Socket string
	Log    *slog.Logger
}

// List returns the images by name. Names that are only the identity of an
// image, as the CRI plugin adds them, are left out.
func (s *Store) List(ctx context.Context) ([]Image, error) {
	c, err := containerd.Client(s.Socket)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	list, err := c.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	out := make([]Image, 0, len(list))
	for _, i := range list {
		if strings.HasPrefix(i.Name, "sha256:") {
			continue
		}
		out = append(out, s.describe(ctx, c, i))
	}
	slices.SortFunc(out, func(a, b Image) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (s *Store) describe(ctx context.Context, c *client.Client, i images.Image) Image {
	size, err := i.Size(ctx, c.ContentStore(), platforms.Default())
	if err != nil {
		// Its content may be on the way out; the name is there all the same.
		s.Log.Debug("the size of an image could not be read", "image", i.Name, "error", err)
	}
	return Image{Name: i.Name, Digest: i.Target.Digest.String(), Size: size, CreatedAt: i.CreatedAt}
}

// Import reads an archive (docker-archive or OCI layout) and makes its images
// known under their names, or under name if that is not empty, and under
// name@digest. It returns when Pods can use them.
func (s *Store) Import(ctx context.Context, name string, r io.Reader) ([]Image, error) {
	if name != "" {
		ref, err := reference.ParseDockerRef(name)
		if err != nil {
			return nil, fmt.Errorf("%w image name %q: %w", ErrInvalid, name, err)
		}
		name = ref.String()
	}
	c, err := containerd.Client(s.Socket)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	// The lease keeps the content until names point to it.
	ctx, done, err := c.WithLease(ctx)
	if err != nil {
		return nil, fmt.Errorf("take a lease: %w", err)
	}
	defer func() { _ = done(context.WithoutCancel(ctx)) }()

	index, err := archive.ImportIndex(ctx, c.ContentStore(), r)
	if err != nil {
		return nil, explain("read the archive", err)
	}
	// Archives are padded after their end; a sender that streams one is stuck
	// until that is read, too.
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, explain("read the archive", err)
	}
	named, err := names(ctx, c.ContentStore(), index, name)
	if err != nil {
		return nil, err
	}
	handler := images.SetChildrenLabels(c.ContentStore(), images.FilterPlatforms(images.ChildrenHandler(c.ContentStore()), platforms.Default()))
	var out []Image
	for _, n := range named {
		if err := images.WalkNotEmpty(ctx, handler, n.target); err != nil {
			return nil, explain("read the image "+n.name, err)
		}
		img, err := put(ctx, c.ImageService(), images.Image{Name: n.name, Target: n.target})
		if err != nil {
			return nil, explain("store the name "+n.name, err)
		}
		if err := client.NewImageWithPlatform(c, img, platforms.Default()).Unpack(ctx, snapshotter); err != nil {
			return nil, explain("unpack the image "+n.name, err)
		}
		out = append(out, s.describe(ctx, c, img))
	}
	return out, s.await(ctx, out)
}

type nameOf struct {
	name   string
	target ocispec.Descriptor
}

// names pairs each image of the index with the names that it gets.
func names(ctx context.Context, store content.Store, index ocispec.Descriptor, name string) ([]nameOf, error) {
	b, err := content.ReadBlob(ctx, store, index)
	if err != nil {
		return nil, fmt.Errorf("read the archive's index: %w", err)
	}
	var idx ocispec.Index
	if err := json.Unmarshal(b, &idx); err != nil {
		return nil, fmt.Errorf("%w archive: its index: %w", ErrInvalid, err)
	}
	if len(idx.Manifests) == 0 {
		return nil, fmt.Errorf("%w archive: it holds no image", ErrInvalid)
	}
	if name != "" {
		first := idx.Manifests[0]
		for _, m := range idx.Manifests[1:] {
			if m.Digest != first.Digest {
				return nil, &fault.Error{Op: "import", Subject: name, Err: fmt.Errorf("%w archive: it holds %d images, one name does not fit them all", ErrInvalid, len(idx.Manifests)),
					Hint: "import it without a name, or archive one image"}
			}
		}
		return withDigest(nil, name, first)
	}
	var out []nameOf
	for _, m := range idx.Manifests {
		n := m.Annotations[images.AnnotationImageName]
		if n == "" {
			n = m.Annotations[ocispec.AnnotationRefName]
		}
		if n == "" {
			return nil, &fault.Error{Op: "import", Err: fmt.Errorf("%w archive: it holds an image without a name", ErrInvalid), Hint: "give a name: penstock image import --name <name> …"}
		}
		ref, err := reference.ParseDockerRef(n)
		if err != nil || !strings.ContainsAny(n, "/:") {
			return nil, &fault.Error{Op: "import", Err: fmt.Errorf("%w archive: %q is not an image name", ErrInvalid, n), Hint: "give a name: penstock image import --name <name> …"}
		}
		if out, err = withDigest(out, ref.String(), m); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func withDigest(out []nameOf, name string, target ocispec.Descriptor) ([]nameOf, error) {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil, fmt.Errorf("%w image name %q: %w", ErrInvalid, name, err)
	}
	target.Annotations = nil
	add := func(n string) {
		if !slices.ContainsFunc(out, func(o nameOf) bool { return o.name == n }) {
			out = append(out, nameOf{n, target})
		}
	}
	add(name)
	add(digestName(ref, target.Digest))
	return out, nil
}

func digestName(ref reference.Named, d digest.Digest) string {
	return reference.TrimNamed(ref).String() + "@" + d.String()
}

func put(ctx context.Context, is images.Store, img images.Image) (images.Image, error) {
	out, err := is.Create(ctx, img)
	if errdefs.IsAlreadyExists(err) {
		return is.Update(ctx, img, "target")
	}
	return out, err
}

// await waits until the CRI plugin, which learns of images by events, answers
// for all of them: a Pod that is created right away must find its image.
func (s *Store) await(ctx context.Context, list []Image) error {
	ctx, cancel := context.WithTimeout(ctx, visible)
	defer cancel()
	cri, err := containerd.DialCRI(s.Socket)
	if err != nil {
		return err
	}
	defer cri.Close()
	for _, i := range list {
		for {
			r, err := cri.ImageStatus(ctx, &runtime.ImageStatusRequest{Image: &runtime.ImageSpec{Image: i.Name}})
			if err == nil && r.Image != nil {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("wait until the runtime sees %s: %w", i.Name, errors.Join(err, ctx.Err()))
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	return nil
}

// Has says whether name points to the manifest d.
func (s *Store) Has(ctx context.Context, name string, d digest.Digest) bool {
	c, err := containerd.Client(s.Socket)
	if err != nil {
		return false
	}
	defer c.Close()
	i, err := c.ImageService().Get(ctx, name)
	return err == nil && i.Target.Digest == d
}

// Remove takes the name away, and the name by digest that Import added when no
// other tag of the repository needs it. Content that nothing names is freed;
// running containers keep theirs.
func (s *Store) Remove(ctx context.Context, name string) error {
	ref, err := reference.ParseDockerRef(name)
	if err != nil {
		return fmt.Errorf("%w image name %q: %w", ErrInvalid, name, err)
	}
	c, err := containerd.Client(s.Socket)
	if err != nil {
		return err
	}
	defer c.Close()
	is := c.ImageService()
	img, err := is.Get(ctx, ref.String())
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("image %s: %w", ref, ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("look up %s: %w", ref, err)
	}
	list, err := is.List(ctx)
	if err != nil {
		return fmt.Errorf("list images: %w", err)
	}
	doomed := alone(list, ref, img.Target.Digest)
	for i, n := range doomed {
		var opts []images.DeleteOpt
		if i == len(doomed)-1 { // the last one waits until the space is free
			opts = append(opts, images.SynchronousDelete())
		}
		if err := is.Delete(ctx, n, opts...); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("remove %s: %w", n, err)
		}
	}
	return nil
}

// alone returns the names to delete with ref: those that only refer to its
// image, last the one by which it is asked for.
func alone(list []images.Image, ref reference.Named, d digest.Digest) []string {
	repo, byDigest := reference.TrimNamed(ref).String(), digestName(ref, d)
	others := slices.ContainsFunc(list, func(i images.Image) bool {
		if i.Name == ref.String() || i.Name == byDigest || i.Target.Digest != d {
			return false
		}
		n, err := reference.ParseNormalizedNamed(i.Name)
		return err == nil && reference.TrimNamed(n).String() == repo
	})
	out := []string{ref.String()}
	if !others && byDigest != ref.String() {
		out = append(out, byDigest)
	}
	slices.Reverse(out)
	return out
}

// explain adds a hint where a person can do something.
func explain(op string, err error) error {
	if strings.Contains(err.Error(), "no space left on device") {
		return &fault.Error{Op: op, Err: err, Hint: "free space on the disk of the data directory, for example with: penstock image remove <name>"}
	}
	return fmt.Errorf("%s: %w", op, err)
}
