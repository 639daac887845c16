package render

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// tree is a read-only view of a checkout whose root is "/". Nothing outside
// can be named: os.Root refuses what escapes, symbolic links included. Edits
// replace single files in memory, so the checkout is shared and never changed.
type tree struct {
	root  *os.Root
	edits map[string][]byte
	read  int64
	files int
}

var _ filesys.FileSystem = (*tree)(nil)

func newTree(root *os.Root) *tree { return &tree{root: root, edits: map[string][]byte{}} }

var errReadOnly = errors.New("the checkout is read-only")

func inside(p string) string {
	p = path.Clean("/" + p)
	if p == "/" {
		return "."
	}
	return p[1:]
}

// Create refuses.
func (t *tree) Create(string) (filesys.File, error) { return nil, errReadOnly }

// Mkdir refuses.
func (t *tree) Mkdir(string) error { return errReadOnly }

// MkdirAll refuses.
func (t *tree) MkdirAll(string) error { return errReadOnly }

// RemoveAll refuses.
func (t *tree) RemoveAll(string) error { return errReadOnly }

// WriteFile refuses.
func (t *tree) WriteFile(string, []byte) error { return errReadOnly }

// Open returns a file in memory.
func (t *tree) Open(p string) (filesys.File, error) {
	b, err := t.ReadFile(p)
	if err != nil {
		return nil, err
	}
	return memFile{bytes.NewReader(b)}, nil
}

// IsDir says whether p is a directory.
func (t *tree) IsDir(p string) bool {
	fi, err := t.root.Stat(inside(p))
	return err == nil && fi.IsDir()
}

// Exists says whether p exists.
func (t *tree) Exists(p string) bool {
	_, err := t.root.Stat(inside(p))
	return err == nil
}

// ReadDir returns the sorted names in p.
func (t *tree) ReadDir(p string) ([]string, error) {
	d, err := t.root.Open(inside(p))
	if err != nil {
		return nil, explain(p, err)
	}
	defer d.Close()
	names, err := d.Readdirnames(maxFiles + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, explain(p, err)
	}
	if len(names) > maxFiles {
		return nil, errorf("%s has more than %d files", p, maxFiles)
	}
	slices.Sort(names)
	return names, nil
}

// CleanedAbs follows symbolic links, so that a directory has one name.
func (t *tree) CleanedAbs(p string) (filesys.ConfirmedDir, string, error) {
	real, err := t.resolve(p)
	if err != nil {
		return "", "", err
	}
	if t.IsDir(real) {
		return filesys.ConfirmedDir(real), "", nil
	}
	return filesys.ConfirmedDir(path.Dir(real)), path.Base(real), nil
}

func (t *tree) resolve(p string) (string, error) {
	const maxLinks = 40
	rest := strings.Split(strings.Trim(path.Clean("/"+p), "/"), "/")
	done, links := "/", 0
	for len(rest) > 0 {
		next := rest[0]
		rest = rest[1:]
		switch next {
		case "", ".":
			continue
		case "..":
			if done == "/" {
				return "", errorf("%s leaves the repository", strings.TrimPrefix(p, "/"))
			}
			done = path.Dir(done)
			continue
		}
		at := path.Join(done, next)
		fi, err := t.root.Lstat(inside(at))
		if err != nil {
			return "", explain(p, err)
		}
		if fi.Mode()&fs.ModeSymlink == 0 {
			done = at
			continue
		}
		if links++; links > maxLinks {
			return "", errorf("%s: too many symbolic links", p)
		}
		to, err := t.root.Readlink(inside(at))
		if err != nil {
			return "", explain(p, err)
		}
		if path.IsAbs(to) {
			return "", errorf("%s is a symbolic link to %s, outside the repository", strings.TrimPrefix(at, "/"), to)
		}
		rest = append(strings.Split(to, "/"), rest...)
	}
	return done, nil
}

// Glob matches names in the tree.
func (t *tree) Glob(pattern string) ([]string, error) {
	found, err := fs.Glob(t.root.FS(), inside(pattern))
	if err != nil {
		return nil, err
	}
	for i, f := range found {
		found[i] = path.Join("/", f)
	}
	return found, nil
}

// ReadFile reads a regular file, within the limits.
func (t *tree) ReadFile(p string) ([]byte, error) {
	if b, ok := t.edits[path.Clean("/"+p)]; ok {
		return b, nil
	}
	if t.files++; t.files > 10*maxFiles {
		return nil, errorf("more than %d reads of files", 10*maxFiles)
	}
	f, err := t.root.Open(inside(p))
	if err != nil {
		return nil, explain(p, err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, explain(p, err)
	}
	if !fi.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: p, Err: errors.New("is not a regular file")}
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, explain(p, err)
	}
	if len(b) > maxFileBytes {
		return nil, errorf("%s is larger than %d MiB", p, maxFileBytes>>20)
	}
	if t.read += int64(len(b)); t.read > maxTotalBytes {
		return nil, errorf("the manifests read are larger than %d MiB together", maxTotalBytes>>20)
	}
	return b, nil
}

// Walk walks the tree below p in order.
func (t *tree) Walk(p string, fn filepath.WalkFunc) error {
	return fs.WalkDir(t.root.FS(), inside(p), func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return fn(path.Join("/", name), nil, err)
		}
		fi, err := d.Info()
		return fn(path.Join("/", name), fi, err)
	})
}

// explain says of a link that leaves the root what it is.
func explain(p string, err error) error {
	if strings.Contains(err.Error(), "escapes") {
		return errorf("%s is a symbolic link out of the repository", strings.TrimPrefix(p, "/"))
	}
	return fmt.Errorf("read %s: %w", strings.TrimPrefix(p, "/"), err)
}

// memFile is a file that has been read.
type memFile struct{ *bytes.Reader }

// Write refuses.
func (memFile) Write([]byte) (int, error) { return 0, errReadOnly }

// Close does nothing.
func (memFile) Close() error { return nil }

// Stat refuses: nothing needs it.
func (memFile) Stat() (os.FileInfo, error) { return nil, errors.ErrUnsupported }
