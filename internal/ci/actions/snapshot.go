package actions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// snapshot makes dst a picture of the directory rel of root: directories and
// links anew, files as hard links to the same content. The image builder reads
// the picture with the runner's rights, so it must not be something that a
// process of the job can still turn into a link to somewhere else.
func snapshot(ctx context.Context, root *os.Root, rel, dst string) error {
	src, err := root.OpenRoot(rel)
	if err != nil {
		return err
	}
	defer src.Close()
	if err := os.Mkdir(dst, 0o700); err != nil {
		return err
	}
	out, err := os.OpenRoot(dst)
	if err != nil {
		return err
	}
	defer out.Close()
	var p pictures
	return p.dir(ctx, src, out, 0)
}

// Limits of a build context.
const (
	maxTreeDepth   = 200
	maxTreeEntries = 2_000_000
)

// pictures is one picture being made.
type pictures struct{ entries int }

func (p *pictures) dir(ctx context.Context, src, dst *os.Root, depth int) error {
	if depth > maxTreeDepth {
		return fmt.Errorf("directories are nested deeper than %d", maxTreeDepth)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	from, err := src.Open(".")
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := dst.Open(".")
	if err != nil {
		return err
	}
	defer to.Close()
	entries, err := from.ReadDir(-1)
	if err != nil {
		return err
	}
	if p.entries += len(entries); p.entries > maxTreeEntries {
		return fmt.Errorf("there are more than %d files", maxTreeEntries)
	}
	for _, e := range entries {
		fi, err := src.Lstat(e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return err
		}
		switch {
		case fi.IsDir():
			err = p.sub(ctx, src, dst, fi, depth)
		case fi.Mode()&fs.ModeSymlink != 0:
			var target string
			if target, err = src.Readlink(e.Name()); err == nil {
				err = dst.Symlink(target, e.Name())
			}
		case fi.Mode().IsRegular():
			err = pictureFile(src, dst, from, to, e.Name())
		}
		// Sockets, pipes and devices are not part of a build context.
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *pictures) sub(ctx context.Context, src, dst *os.Root, fi fs.FileInfo, depth int) error {
	if err := dst.Mkdir(fi.Name(), 0o700); err != nil {
		return err
	}
	subSrc, err := src.OpenRoot(fi.Name())
	if err != nil {
		return err
	}
	defer subSrc.Close()
	subDst, err := dst.OpenRoot(fi.Name())
	if err != nil {
		return err
	}
	defer subDst.Close()
	if err := p.dir(ctx, subSrc, subDst, depth+1); err != nil {
		return err
	}
	if err := dst.Chmod(fi.Name(), fi.Mode().Perm()|0o700); err != nil {
		return err
	}
	return dst.Chtimes(fi.Name(), fi.ModTime(), fi.ModTime())
}

// pictureFile links the file, and copies it where links cannot be made.
func pictureFile(src, dst *os.Root, from, to *os.File, name string) error {
	if err := link(from, to, name); err == nil {
		// What was linked is what was there at that moment; only a regular
		// file may stay.
		fi, err := dst.Lstat(name)
		if err == nil && !fi.Mode().IsRegular() {
			err = dst.Remove(name)
		}
		return err
	}
	in, err := src.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		return err
	}
	out, err := dst.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fi.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	return dst.Chtimes(name, fi.ModTime(), fi.ModTime())
}

// maxDockerfile bounds a Dockerfile and an ignore file.
const maxDockerfile = 4 << 20

// copyOut copies one regular file of root to dst.
func copyOut(root *os.Root, rel, dst string) error {
	f, err := root.OpenFile(rel, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() || fi.Size() > maxDockerfile {
		return fmt.Errorf("%s is not a regular file of at most %d bytes", rel, maxDockerfile)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxDockerfile))
	if err != nil {
		return err
	}
	return os.WriteFile(dst, b, 0o600)
}

// relative gives path as a name below workspace.
func relative(workspace, path string) (string, error) {
	given := path
	if path == "" {
		path = "."
	}
	if filepath.IsAbs(path) {
		rel, err := filepath.Rel(workspace, path)
		if err != nil {
			return "", err
		}
		path = rel
	}
	if !filepath.IsLocal(path) {
		return "", fmt.Errorf("'%s' is not inside the workspace", given)
	}
	return filepath.Clean(path), nil
}
