//go:build linux

package image

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// ReadFile reads a file of the image, of at most so many bytes, as an overlay
// of its layers would show it. Links that lead from one layer to another are
// not followed.
func (i *Image) ReadFile(p string, most int64) ([]byte, error) {
	for _, layer := range i.Layers {
		var st unix.Stat_t
		err := unix.Lstat(filepath.Join(layer, p), &st)
		if err != nil {
			if hides(layer, p) {
				break
			}
			continue
		}
		if st.Mode&unix.S_IFMT == unix.S_IFCHR {
			break // a whiteout
		}
		return readIn(layer, p, most)
	}
	return nil, fmt.Errorf("%s %w", p, problem.ErrNotFound)
}

// readIn reads a file as it would be read inside the directory.
func readIn(dir, p string, most int64) ([]byte, error) {
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, "."+p, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", p, err)
	}
	f := os.NewFile(uintptr(fd), p)
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is not a file", problem.ErrInvalid, p)
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("%w: %s has more than %d bytes", problem.ErrInvalid, p, most)
	}
	return data, err
}
