package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/penstock-dev/penstock/internal/base/atomicfile"
	"github.com/penstock-dev/penstock/internal/base/failpoint"
	"github.com/penstock-dev/penstock/internal/base/problem"
)

// files keeps blobs below a directory:
//
//	blobs/<segments of the key>  directories as they are, the last one with
//	                             leaf before it, so that "a" and "a/b" are both
//	                             possible
//	tmp/                         what Puts have not finished
//	lock                         see openLock
type files struct {
	root string
	lock *os.File
}

var _ Store = (*files)(nil)

// leaf cannot begin a segment of a key.
const leaf = "@"

// OpenFiles opens the store in dir, which is made when absent. Several
// processes may have it open; the first sweeps what died ones left.
func OpenFiles(dir string) (Store, error) {
	s := &files{root: dir}
	for _, d := range []string{s.blobs(), s.tmp()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("open blobs: %w", err)
		}
	}
	var err error
	if s.lock, err = openLock(filepath.Join(dir, "lock"), s.sweep); err != nil {
		return nil, fmt.Errorf("open blobs %s: %w", dir, err)
	}
	return s, nil
}

func (s *files) blobs() string { return filepath.Join(s.root, "blobs") }
func (s *files) tmp() string   { return filepath.Join(s.root, "tmp") }

// path is the file of a key that [CheckKey] has passed.
func (s *files) path(key string) string {
	dir, name := "", key
	if i := strings.LastIndexByte(key, '/'); i >= 0 {
		dir, name = key[:i], key[i+1:]
	}
	return filepath.Join(s.blobs(), filepath.FromSlash(dir), leaf+name)
}

func (s *files) Close() error { return s.lock.Close() }

// Sweep does nothing more than opening the store did: what is unfinished now
// belongs to somebody who lives.
func (s *files) Sweep(context.Context) error { return nil }

// sweep removes all unfinished Puts; nobody else has the store open.
func (s *files) sweep() error {
	entries, err := os.ReadDir(s.tmp())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(s.tmp(), e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (s *files) Put(ctx context.Context, key string, r io.Reader, want Expect) (Put, error) {
	if err := CheckKey(key); err != nil {
		return Put{}, err
	}
	p, err := s.put(ctx, key, r, want)
	if err != nil {
		return Put{}, fmt.Errorf("put blob %s: %w", key, err)
	}
	return p, nil
}

func (s *files) put(ctx context.Context, key string, r io.Reader, want Expect) (p Put, err error) {
	f, err := os.CreateTemp(s.tmp(), "put-*")
	if err != nil {
		return p, err
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	m := measure(ctx, r)
	if _, err := io.CopyBuffer(onlyWriter{f}, m, make([]byte, 64<<10)); err != nil {
		return p, err
	}
	p = m.put()
	if err := want.check(p); err != nil {
		return p, err
	}
	if err := f.Sync(); err != nil {
		return p, err
	}
	if err := context.Cause(ctx); err != nil {
		return p, err
	}
	failpoint.Hit("blob.put.before")
	if err := s.place(f.Name(), s.path(key)); err != nil {
		return p, err
	}
	failpoint.Hit("blob.put.after")
	return p, nil
}

// onlyWriter hides ReadFrom, which would take a buffer of its own.
type onlyWriter struct{ io.Writer }

// place renames a finished file to its name, durably. A Delete may remove the
// directory at any moment before the rename, so both are tried again.
func (s *files) place(from, to string) error {
	dir := filepath.Dir(to)
	for try := 1; ; try++ {
		err := os.MkdirAll(dir, 0o700)
		if err == nil {
			err = os.Rename(from, to)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) || try == 1000 {
			return err
		}
	}
	// All of them: who made a directory may not have synced it yet. One that
	// is gone was emptied after the rename, and the blob with it.
	for ; len(dir) >= len(s.blobs()); dir = filepath.Dir(dir) {
		if err := atomicfile.SyncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// open opens the file of a blob.
func (s *files) open(key string) (*os.File, Info, error) {
	if err := CheckKey(key); err != nil {
		return nil, Info{}, err
	}
	f, err := os.Open(s.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, Info{}, fmt.Errorf("blob %s: %w", key, problem.ErrNotFound)
	}
	if err != nil {
		return nil, Info{}, fmt.Errorf("open blob %s: %w", key, err)
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, Info{}, fmt.Errorf("open blob %s: %w", key, err)
	}
	return f, info(key, fi), nil
}

func info(key string, fi fs.FileInfo) Info {
	return Info{Key: key, Size: fi.Size(), ModTime: fi.ModTime().UTC()}
}

func (s *files) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, Info, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, Info{}, err
	}
	f, in, err := s.open(key)
	if err != nil {
		return nil, in, err
	}
	n, err := checkRange(key, in.Size, offset, length)
	if err != nil {
		f.Close()
		return nil, in, err
	}
	return section{io.NewSectionReader(f, offset, n), f}, in, nil
}

// section is a range of an open file.
type section struct {
	*io.SectionReader
	f *os.File
}

func (s section) Close() error { return s.f.Close() }

func (s *files) Stat(ctx context.Context, key string) (Info, error) {
	if err := context.Cause(ctx); err != nil {
		return Info{}, err
	}
	f, in, err := s.open(key)
	if err != nil {
		return in, err
	}
	return in, f.Close()
}

func (s *files) Delete(ctx context.Context, key string) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	path := s.path(key)
	if err := os.Remove(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("delete blob %s: %w", key, err)
	}
	dir := filepath.Dir(path)
	// Directories that are empty now go too; rmdir refuses the others.
	for len(dir) > len(s.blobs()) && os.Remove(dir) == nil {
		dir = filepath.Dir(dir)
	}
	if err := atomicfile.SyncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete blob %s: %w", key, err)
	}
	return nil
}
