//go:build linux

package container

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/exec"
	"github.com/penstock-dev/penstock/internal/host/exec/sandbox"
	"github.com/penstock-dev/penstock/internal/host/image"
)

// Runtime opens containers. It is safe for concurrent use.
type Runtime struct {
	sandboxes *sandbox.Runtime
	images    *image.Store
	fallback  string
}

var _ exec.Runtime = (*Runtime)(nil)

// New makes a runtime of the sandboxes that it furnishes and the images that it
// furnishes them with. Sessions of both runtimes can be on one private
// network. fallback is the image of sessions that name none; it may be empty.
func New(sandboxes *sandbox.Runtime, images *image.Store, fallback string) (*Runtime, error) {
	if err := checkStatic("/proc/self/exe"); err != nil {
		return nil, err
	}
	return &Runtime{sandboxes: sandboxes, images: images, fallback: fallback}, nil
}

// Name is "container".
func (*Runtime) Name() string { return "container" }

// Open gets the image and starts a container of it.
func (r *Runtime) Open(ctx context.Context, spec exec.SessionSpec) (exec.Session, error) {
	s, err := r.open(ctx, spec)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (r *Runtime) open(ctx context.Context, spec exec.SessionSpec) (*session, error) {
	ref := spec.Image
	if ref == "" {
		ref = r.fallback
	}
	if ref == "" {
		return nil, &problem.Error{
			Op: "open container", Subject: spec.ID, Err: fmt.Errorf("%w: no image is named", problem.ErrInvalid),
			Hint: "name one, or use the sandbox runtime, which needs none",
		}
	}
	var c image.Credentials
	if spec.ImageCredentials != nil {
		c = image.Credentials(*spec.ImageCredentials)
	}
	img, err := r.images.Get(ctx, ref, c)
	if err != nil {
		return nil, err
	}
	root, err := rootOf(img)
	if err != nil {
		return nil, errors.Join(&problem.Error{
			Op: "open container", Subject: ref, Err: err, Hint: "the image says who its commands run as; see its Dockerfile's USER",
		}, img.Release())
	}
	s, err := r.sandboxes.OpenRoot(ctx, spec, root)
	if err != nil {
		return nil, err
	}
	return &session{s, configOf(ref, img)}, nil
}

// rootOf is the image as a sandbox takes it.
func rootOf(img *image.Image) (sandbox.Root, error) {
	u, err := lookup(img, img.Config.Config.User)
	if err != nil {
		return sandbox.Root{}, err
	}
	root := sandbox.Root{
		Layers: img.Layers, UID: u.uid, GID: u.gid, Groups: u.groups, Env: environment(img.Config.Config.Env, u),
		WorkDir: img.Config.Config.WorkingDir, Release: img.Release,
	}
	for _, d := range img.Dirs {
		root.Dirs = append(root.Dirs, sandbox.Dir(d))
	}
	return root, nil
}

// loginPath is the search path of an image that names none, as container
// engines have it.
const loginPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment is the image's own, and what programs need if it lacks that.
func environment(env []string, u user) []string {
	has := map[string]bool{}
	var out []string
	for _, kv := range env {
		name, _, ok := strings.Cut(kv, "=")
		if ok && name != "" {
			has[name] = true
			out = append(out, kv)
		}
	}
	for _, kv := range []struct{ name, value string }{{"PATH", loginPath}, {"HOME", u.home}, {"USER", u.name}, {"LOGNAME", u.name}} {
		if !has[kv.name] && kv.value != "" {
			out = append(out, kv.name+"="+kv.value)
		}
	}
	return out
}

// session is a sandbox that knows its image.
type session struct {
	exec.Networked
	config exec.ImageConfig
}

var _ exec.Imaged = (*session)(nil)

// Image is what the image says about how it is meant to be run.
func (s *session) Image() exec.ImageConfig { return s.config }
