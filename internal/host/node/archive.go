package node

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// OpenArchive opens an image for import: an archive, "-" for stdin, or a
// directory in the OCI layout, which is read as an archive.
func OpenArchive(path string, stdin io.Reader) (io.ReadCloser, error) {
	if path == "-" {
		return io.NopCloser(stdin), nil
	}
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open the image: %w", err)
	}
	if !st.IsDir() {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("open the image: %w", err)
		}
		return f, nil
	}
	if _, err := os.Stat(filepath.Join(path, "oci-layout")); err != nil {
		return nil, fmt.Errorf("open the image: %s is a directory without an OCI layout: %w", path, err)
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(writeLayout(w, path)) }() // ends when r is closed
	return r, nil
}

// writeLayout writes the regular files of a layout as an archive.
func writeLayout(w io.Writer, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	tw := tar.NewWriter(w)
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s is not a regular file", name)
		}
		return writeFile(tw, root, name)
	})
	return errors.Join(err, tw.Close())
}

func writeFile(tw *tar.Writer, root *os.Root, name string) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: filepath.ToSlash(name), Mode: 0o644, Size: st.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(tw, f)
	return err
}
