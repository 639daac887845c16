package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/penstock-dev/penstock/internal/base/atomicfile"
)

// makeDirs makes dir and what is missing above it, so that the names survive
// a crash.
func makeDirs(dir string, perm fs.FileMode) error {
	err := os.Mkdir(dir, perm)
	switch {
	case err == nil:
		return atomicfile.SyncDir(filepath.Dir(dir))
	case errors.Is(err, fs.ErrExist):
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := makeDirs(filepath.Dir(dir), perm); err != nil {
		return err
	}
	return makeDirs(dir, perm)
}

// inDir runs create, which makes a name in dir, and makes dir when it is not
// there.
func inDir(dir string, create func() error) error {
	err := create()
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeDirs(dir, 0o700); err != nil {
		return err
	}
	return create()
}

// write replaces the file at path, whose directory it makes if need be.
func write(path string, data []byte) error {
	return inDir(filepath.Dir(path), func() error { return atomicfile.Write(path, data, 0o600) })
}

// remove removes the file at path for good. It is no error if it is gone.
func remove(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(path))
}

// names lists a directory without what a crash left half written. One that is
// not there is empty.
func names(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all, err := f.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", dir, err)
	}
	out := all[:0]
	for _, n := range all {
		if n[0] != '.' {
			out = append(out, n)
		}
	}
	return out, nil
}

// locks has a lock for each repository that is in use.
type locks struct {
	mu sync.Mutex
	m  map[string]*repoLock
}

type repoLock struct {
	sync.RWMutex
	users int
}

func (l *locks) get(repo string) *repoLock {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.m[repo]
	if r == nil {
		if l.m == nil {
			l.m = map[string]*repoLock{}
		}
		r = &repoLock{}
		l.m[repo] = r
	}
	r.users++
	return r
}

func (l *locks) put(repo string, r *repoLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.users--; r.users == 0 {
		delete(l.m, repo)
	}
}

// write locks repo against everybody, read against those who change what it
// has. Both return what unlocks it.
func (l *locks) write(repo string) (unlock func()) {
	r := l.get(repo)
	r.Lock()
	return func() { r.Unlock(); l.put(repo, r) }
}

func (l *locks) read(repo string) (unlock func()) {
	r := l.get(repo)
	r.RLock()
	return func() { r.RUnlock(); l.put(repo, r) }
}
