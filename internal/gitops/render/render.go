// Package render turns a directory of a checkout into Kubernetes objects:
// plain manifests, or a kustomization.
//
// Manifests are other people's programs, so rendering happens in worker
// processes ([Pool], [WorkerCommand]) that see nothing but the checkouts, have
// no network and are bounded in memory and time. [Render] is what runs inside.
package render

import (
	"fmt"
	"os"
	"path"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
)

// Types of a source, named as Argo CD names them.
const (
	TypeDirectory = "Directory"
	TypeKustomize = "Kustomize"
)

// Limits of one rendering.
const (
	maxFileBytes  = 16 << 20
	maxTotalBytes = 256 << 20
	maxFiles      = 20_000
	maxObjects    = 20_000
)

// Request is one rendering.
type Request struct {
	// Checkout is the directory of the checkout, relative to the pool's base.
	Checkout string `json:"checkout"`
	// Source says which path of it, and how.
	Source v1alpha1.Source `json:"source"`
}

// Result is what a rendering gave.
type Result struct {
	Type    string
	Objects []*unstructured.Unstructured
}

// Error is a mistake in the files: rendering them again gives it again.
type Error struct{ Message string }

func (e *Error) Error() string { return e.Message }

func errorf(format string, args ...any) error {
	return &Error{Message: strings.TrimSpace(fmt.Sprintf(format, args...))}
}

// Render renders source from the checkout at root.
func Render(root *os.Root, source v1alpha1.Source) (*Result, error) {
	tree := newTree(root)
	dir, err := sourceDir(tree, source.Path)
	if err != nil {
		return nil, err
	}
	if err := refuseOverrides(tree, dir); err != nil {
		return nil, err
	}
	typ, err := sourceType(tree, dir, source)
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	switch typ {
	case TypeKustomize:
		objects, err = kustomization(tree, dir, source.Kustomize)
	case TypeDirectory:
		objects, err = directory(tree, dir, source.Directory)
	}
	if err != nil {
		return nil, err
	}
	if len(objects) > maxObjects {
		return nil, errorf("%s has %d objects, more than %d", source.Path, len(objects), maxObjects)
	}
	return &Result{Type: typ, Objects: objects}, nil
}

// sourceDir checks the path of a source and returns it as a path in the tree.
func sourceDir(t *tree, p string) (string, error) {
	if path.IsAbs(p) {
		return "", errorf("path %q is absolute; it is relative to the repository", p)
	}
	if clean := path.Clean(p); clean == ".." || strings.HasPrefix(clean, "../") {
		return "", errorf("path %q leaves the repository", p)
	}
	dir := path.Join("/", p)
	if !t.Exists(dir) {
		return "", errorf("path %q does not exist in the repository", p)
	}
	if !t.IsDir(dir) {
		return "", errorf("path %q is not a directory", p)
	}
	return dir, nil
}

// sourceType decides how dir is rendered: an explicit block first, then what
// the files say.
func sourceType(t *tree, dir string, s v1alpha1.Source) (string, error) {
	switch {
	case s.Kustomize != nil && s.Directory != nil:
		return "", errorf("source has both kustomize and directory; use one")
	case s.Kustomize != nil:
		return TypeKustomize, nil
	case s.Directory != nil:
		return TypeDirectory, nil
	case t.Exists(path.Join(dir, "Chart.yaml")):
		return "", errorf("path %q is a Helm chart (Chart.yaml): source type Helm is not served by this version", s.Path)
	case kustomizationFile(t, dir) != "":
		return TypeKustomize, nil
	}
	return TypeDirectory, nil
}

// refuseOverrides names the parameter files of Argo CD that are not read yet.
func refuseOverrides(t *tree, dir string) error {
	names, err := t.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		if strings.HasPrefix(n, ".argocd-source") && strings.HasSuffix(n, ".yaml") {
			return errorf("%s: parameter override files are not served by this version", path.Join(strings.TrimPrefix(dir, "/"), n))
		}
	}
	return nil
}
