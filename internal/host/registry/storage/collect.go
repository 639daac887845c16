package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/penstock-dev/penstock/internal/base/failpoint"
)

// freshSet holds the content that repositories have got since a collection
// began. Outside of one it holds nothing.
type freshSet struct {
	mu sync.Mutex
	m  map[digest.Digest]bool
}

func (f *freshSet) add(d digest.Digest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.m != nil {
		f.m[d] = true
	}
}

func (f *freshSet) begin() { f.mu.Lock(); f.m = map[digest.Digest]bool{}; f.mu.Unlock() }
func (f *freshSet) end()   { f.mu.Lock(); f.m = nil; f.mu.Unlock() }

func (f *freshSet) has(d digest.Digest) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.m[d]
}

// Collected says what a collection freed.
type Collected struct {
	Uploads int   // that got nothing for the time of grace
	Links   int   // of blobs that no manifest of their repository names
	Content int   // files that no repository has
	Bytes   int64 // in those
}

// Collect removes what nothing refers to. Manifests, tagged or not, stay until
// somebody deletes them, and so does what they name: images are deployed by
// digest.
//
// It runs beside pushes and pulls and removes nothing of theirs: a blob whose
// manifest has not come yet is kept for the time of grace, counted from when
// somebody pushed it, mounted it or asked whether it is there; and content that
// a repository gets while the collection runs is noted.
func (s *Store) Collect(ctx context.Context) (Collected, error) {
	s.gc.Lock()
	defer s.gc.Unlock()
	var c Collected
	before := s.o.Now().Add(-s.o.Grace)
	// From here on, what a repository gets is noted; what it got earlier is
	// found below.
	s.sweep.Lock()
	s.fresh.begin()
	s.sweep.Unlock()
	defer s.fresh.end()
	repos, err := s.Repositories()
	if err != nil {
		return c, err
	}
	linked := map[digest.Digest]bool{}
	for _, repo := range repos {
		if err := ctx.Err(); err != nil {
			return c, err
		}
		n, err := s.collectRepo(repo, before, linked)
		c.Links += n
		if err != nil {
			return c, fmt.Errorf("collect garbage of %s: %w", repo, err)
		}
	}
	if err := s.collectContent(ctx, before, linked, &c); err != nil {
		return c, err
	}
	c.Uploads, err = s.expireUploads(ctx, before)
	if err == nil {
		err = s.collectTemporary(s.o.Now().Add(-max(s.o.Grace, temporaryAge)))
	}
	return c, err
}

// collectRepo removes the links of blobs that no manifest of repo names and
// adds what it has to linked.
func (s *Store) collectRepo(repo string, before time.Time, linked map[digest.Digest]bool) (n int, err error) {
	defer s.repos.write(repo)()
	used, err := s.referenced(repo)
	if err != nil {
		return 0, err
	}
	blobs, err := s.digestsIn(repo, blobsPart)
	if err != nil {
		return 0, err
	}
	for _, d := range blobs {
		path := s.linkPath(repo, blobsPart, d)
		fi, err := os.Stat(path)
		if err != nil {
			return n, fmt.Errorf("look at blob %s: %w", d, err)
		}
		if used[d] || fi.ModTime().After(before) {
			linked[d] = true
			continue
		}
		failpoint.Hit("registry.collect.link.before")
		if err := remove(path); err != nil {
			return n, fmt.Errorf("remove blob %s: %w", d, err)
		}
		failpoint.Hit("registry.collect.link.after")
		n++
	}
	manifests, err := s.digestsIn(repo, manifestsPart)
	for _, d := range manifests {
		linked[d] = true
	}
	return n, err
}

// collectContent removes the content that no repository has.
func (s *Store) collectContent(ctx context.Context, before time.Time, linked map[digest.Digest]bool, c *Collected) error {
	root := filepath.Join(s.dir, "blobs")
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		a, _, _ := strings.Cut(filepath.ToSlash(rel), "/")
		d := digest.NewDigestFromEncoded(digest.Algorithm(a), e.Name())
		if linked[d] {
			return nil
		}
		fi, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) || err == nil && fi.ModTime().After(before) {
			return nil
		}
		if err != nil {
			return err
		}
		removed, err := s.removeContent(path, d)
		if removed {
			c.Content++
			c.Bytes += fi.Size()
		}
		return err
	})
}

// removeContent removes the content of d unless a repository got it meanwhile.
func (s *Store) removeContent(path string, d digest.Digest) (bool, error) {
	s.sweep.Lock()
	defer s.sweep.Unlock()
	if s.fresh.has(d) {
		return false, nil
	}
	failpoint.Hit("registry.collect.content.before")
	if err := os.Remove(path); err != nil {
		return false, fmt.Errorf("remove content %s: %w", d, err)
	}
	failpoint.Hit("registry.collect.content.after")
	return true, nil
}

// temporaryAge is how old a file is at least that its writer has forgotten.
const temporaryAge = time.Hour

// collectTemporary removes what a crash left half written: files whose names
// begin with a dot.
func (s *Store) collectTemporary(before time.Time) error {
	for _, dir := range []string{"uploads", "repos"} {
		err := filepath.WalkDir(filepath.Join(s.dir, dir), func(path string, e fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // an upload ended, a tag was written
			}
			if err != nil || e.IsDir() || e.Name()[0] != '.' {
				return err
			}
			fi, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) || err == nil && fi.ModTime().After(before) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("remove temporary files: %w", err)
		}
	}
	return nil
}
