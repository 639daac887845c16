//go:build linux

package image

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/penstock-dev/penstock/internal/base/atomicfile"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/image/unpack"
)

// Store keeps images unpacked in a directory. Processes may share it.
//
//	layers/<digest>/     a layer: fs, and layer.json, which says what it is
//	layers/<digest>.lock held while the layer is unpacked
//	images/<digest>.json an image's configuration and layers, by its manifest
//	refs/<hash>.json     what a reference led to when it was last asked for
//
// A layer's directory appears whole, by a rename. Whoever uses a layer holds a
// shared lock on its directory, which the kernel lets go of with the process,
// so nothing is removed under a session and nothing stays locked after a crash.
type Store struct {
	dir     string
	sources *Sources
	limits  unpack.Limits
	log     *slog.Logger
}

// NewStore makes the directory, which belongs to root alone: what is in it has
// the owners and the set-uid bits that images say.
func NewStore(dir string, sources *Sources, limits unpack.Limits) (*Store, error) {
	for _, d := range []string{"", "layers", "images", "refs"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return nil, fmt.Errorf("make image store: %w", err)
		}
	}
	return &Store{dir: dir, sources: sources, limits: limits, log: sources.log()}, nil
}

// Image is an image of the store, kept there until Release.
type Image struct {
	Digest string // of its manifest
	Config v1.ConfigFile
	Layers []string // directories, topmost first
	Dirs   []Dir    // directories whose owner and mode the layers do not tell

	locks []*os.File
}

// Release lets go of the layers.
func (i *Image) Release() error {
	var errs []error
	for _, f := range i.locks {
		errs = append(errs, f.Close())
	}
	i.locks = nil
	return errors.Join(errs...)
}

// record is what the store knows of an image.
type record struct {
	Config  v1.ConfigFile `json:"config"`
	DiffIDs []v1.Hash     `json:"diffIDs"` // bottom first
}

// pointer is what a reference led to.
type pointer struct {
	Ref   string    `json:"ref"`
	Top   v1.Hash   `json:"top"`   // what it names, perhaps an index
	Image v1.Hash   `json:"image"` // the manifest for our platform
	Seen  time.Time `json:"seen"`
}

// Get makes the image of a reference available. A tag is looked up anew each
// time; when that cannot be, what it named before is used.
func (s *Store) Get(ctx context.Context, ref string, c Credentials) (*Image, error) {
	img, err := s.get(ctx, ref, c)
	if err != nil {
		var p *problem.Error
		if errors.As(err, &p) {
			return nil, err
		}
		return nil, explain(ref, err)
	}
	return img, nil
}

func (s *Store) get(ctx context.Context, ref string, c Credentials) (*Image, error) {
	last, known := s.lastSeen(ref)
	f, err := s.sources.find(ctx, ref, c, func(top v1.Hash) bool { return known && top == last.Top })
	if err != nil {
		if !known || ctx.Err() != nil || missing(err) || errors.Is(err, problem.ErrInvalid) {
			return nil, err
		}
		img, useErr := s.use(last.Image)
		if useErr != nil {
			return nil, err
		}
		s.log.Warn("cannot ask for an image, using what is here", "image", ref, "digest", last.Image, "seen", last.Seen, "error", err)
		return img, nil
	}
	if f.image == nil { // nothing has changed
		if img, err := s.use(last.Image); err == nil {
			return s.point(ref, f.top, last.Image, img)
		}
		if f, err = s.sources.find(ctx, ref, c, nil); err != nil {
			return nil, err
		}
	}
	digest, err := f.image.Digest()
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	img, err := s.use(digest)
	if err != nil {
		if img, err = s.add(ctx, digest, f.image); err != nil {
			return nil, err
		}
	}
	return s.point(ref, f.top, digest, img)
}

// point keeps what the reference leads to now.
func (s *Store) point(ref string, top, digest v1.Hash, img *Image) (*Image, error) {
	if err := s.write("refs", hash(ref), pointer{Ref: ref, Top: top, Image: digest, Seen: time.Now().UTC()}); err != nil {
		return nil, errors.Join(err, img.Release())
	}
	return img, nil
}

// use locks the layers of an image that is here.
func (s *Store) use(digest v1.Hash) (*Image, error) {
	var r record
	if err := s.read("images", digest.Hex, &r); err != nil {
		return nil, err
	}
	if err := touch(filepath.Join(s.dir, "images", digest.Hex+".json")); err != nil {
		return nil, err
	}
	return s.assemble(digest, r)
}

// add unpacks what is missing of an image.
func (s *Store) add(ctx context.Context, digest v1.Hash, img v1.Image) (*Image, error) {
	config, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if err := fits(config, s.sources.platform()); err != nil {
		return nil, err
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if len(layers) != len(config.RootFS.DiffIDs) || len(layers) == 0 {
		return nil, fmt.Errorf("%w: the image has %d layers and names %d", problem.ErrInvalid, len(layers), len(config.RootFS.DiffIDs))
	}
	limits := s.limits
	for i, l := range layers {
		size, err := s.layer(ctx, config.RootFS.DiffIDs[i], l, limits)
		if err != nil {
			return nil, fmt.Errorf("layer %d of %d: %w", i+1, len(layers), err)
		}
		limits.Bytes -= size.Bytes // the limits are on the image as a whole
		limits.Entries -= size.Entries
	}
	r := record{Config: *config, DiffIDs: config.RootFS.DiffIDs}
	if err := s.write("images", digest.Hex, r); err != nil {
		return nil, err
	}
	return s.assemble(digest, r)
}

// fits says no to an image of another platform. Not all say which they are of.
func fits(c *v1.ConfigFile, p v1.Platform) error {
	if c.OS != "" && c.OS != p.OS || c.Architecture != "" && c.Architecture != p.Architecture {
		return fmt.Errorf("%w: the image is for %s/%s, this machine is %s/%s", problem.ErrInvalid, c.OS, c.Architecture, p.OS, p.Architecture)
	}
	return nil
}

func (s *Store) assemble(digest v1.Hash, r record) (_ *Image, err error) {
	img := &Image{Digest: digest.String(), Config: r.Config}
	defer func() {
		if err != nil {
			err = errors.Join(err, img.Release())
		}
	}()
	var infos []layerInfo
	for _, id := range slices.Backward(r.DiffIDs) {
		dir := s.layerDir(id)
		lock, err := lockShared(dir)
		if err != nil {
			return nil, err
		}
		img.locks = append(img.locks, lock)
		info, err := readInfo(dir)
		if err != nil {
			return nil, err
		}
		img.Layers, infos = append(img.Layers, filepath.Join(dir, "fs")), append(infos, info)
		if err := touch(filepath.Join(dir, infoName)); err != nil {
			return nil, err
		}
	}
	img.Dirs, err = settle(img.Layers, infos)
	return img, err
}

// touch notes when something was last used.
func touch(name string) error {
	now := []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_NOW}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, name, now, 0); err != nil {
		return fmt.Errorf("note use of image: %w", err)
	}
	return nil
}

func (s *Store) layerDir(id v1.Hash) string { return filepath.Join(s.dir, "layers", id.Hex) }

func (s *Store) lastSeen(ref string) (pointer, bool) {
	var p pointer
	return p, s.read("refs", hash(ref), &p) == nil && p.Ref == ref
}

func (s *Store) write(kind, name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(s.dir, kind, name+".json"), data, 0o600); err != nil {
		return fmt.Errorf("write to image store: %w", err)
	}
	return nil
}

func (s *Store) read(kind, name string, v any) error {
	if _, err := hex.DecodeString(name); err != nil {
		return fmt.Errorf("%w: digest %q", problem.ErrInvalid, name)
	}
	data, err := os.ReadFile(filepath.Join(s.dir, kind, name+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w in the image store", problem.ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("read image store: %w", err)
	}
	return json.Unmarshal(data, v)
}
