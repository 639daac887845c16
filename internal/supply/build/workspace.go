package build

import (
	"fmt"
	"os"
)

// workspace is a directory for what one build needs on the client's side:
// checkouts, a Dockerfile that came as content, an image on its way to several
// names.
type workspace struct {
	dir string
	n   int
}

func newWorkspace() (*workspace, error) {
	dir, err := os.MkdirTemp("", "penstock-build-")
	if err != nil {
		return nil, fmt.Errorf("make build workspace: %w", err)
	}
	return &workspace{dir: dir}, nil
}

func (w *workspace) remove() { _ = os.RemoveAll(w.dir) }

// sub makes a new directory in it.
func (w *workspace) sub(name string) (string, error) {
	w.n++
	dir := fmt.Sprintf("%s/%d-%s", w.dir, w.n, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", fmt.Errorf("make build workspace: %w", err)
	}
	return dir, nil
}
