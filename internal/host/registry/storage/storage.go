// Package storage keeps the content of the OCI registry on disk: blobs and
// manifests by their digest, and per repository which of them it has, its tags
// and its referrers. It knows nothing of HTTP or users.
//
// Everything is files, and what a file says about others can be read from
// their content again:
//
//	blobs/sha256/ab/abcd…                  content, once for all repositories
//	repos/demo/shop/_blobs/sha256/abcd…    demo/shop has this blob (empty)
//	repos/demo/shop/_manifests/sha256/…    demo/shop has this manifest (a record)
//	repos/demo/shop/_tags/v1               the digest that v1 names
//	repos/demo/shop/_views/run-7/v1        the same, for those who see view run-7
//	repos/demo/shop/_referrers/sha256-…/…  a manifest whose subject that is
//	uploads/ID/                            an upload under way
//
// Content is on the disk before a repository has it, and a repository has a
// manifest before a tag names it. So a crash at any point leaves no tag that
// does not resolve and loses nothing that was acknowledged; what it leaves
// behind is garbage that [Store.Collect] finds.
package storage

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// Options configures a [Store]. The zero value has the defaults.
type Options struct {
	// MaxBlob bounds one blob. Default 32 GiB.
	MaxBlob int64
	// MaxUploads bounds the uploads under way. Default 2048.
	MaxUploads int
	// Grace is how long what nothing refers to yet is kept from Collect: a
	// blob that was pushed, asked for or mounted, whose manifest is still to
	// come, and an upload after its last byte. Default 24 hours.
	Grace time.Duration
	Now   func() time.Time // default time.Now
}

// Store is a directory of content. Its methods may be called by many
// goroutines. Only one process may have it open.
type Store struct {
	dir     string
	o       Options
	repos   locks
	uploads uploads

	// sweep is held for reading while a repository gets content, and for
	// writing while content is deleted: so what is deleted gains no user in
	// the same moment.
	sweep sync.RWMutex
	fresh freshSet
	gc    sync.Mutex // one Collect at a time
}

// Open opens the store in dir, which it creates if need be.
func Open(dir string, o Options) (*Store, error) {
	if o.MaxBlob == 0 {
		o.MaxBlob = 32 << 30
	}
	if o.MaxUploads == 0 {
		o.MaxUploads = 2048
	}
	if o.Grace == 0 {
		o.Grace = 24 * time.Hour
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Store{dir: dir, o: o}
	s.uploads.open = map[string]*upload{}
	for _, d := range []string{"blobs", "repos", "uploads"} {
		if err := makeDirs(filepath.Join(dir, d), 0o700); err != nil {
			return nil, fmt.Errorf("open registry storage: %w", err)
		}
	}
	return s, nil
}

func (s *Store) contentPath(d digest.Digest) string {
	hex := d.Encoded()
	return filepath.Join(s.dir, "blobs", d.Algorithm().String(), hex[:2], hex)
}

// part is a directory of a repository. No part of a repository's name begins
// with an underscore.
type part string

const (
	blobsPart     part = "_blobs"
	manifestsPart part = "_manifests"
	tagsPart      part = "_tags"
	viewsPart     part = "_views"
	referrersPart part = "_referrers"
)

var parts = []part{blobsPart, manifestsPart, tagsPart, viewsPart, referrersPart}

func (s *Store) repoPath(repo string, p part, elem ...string) string {
	return filepath.Join(append([]string{s.dir, "repos", filepath.FromSlash(repo), string(p)}, elem...)...)
}

func (s *Store) linkPath(repo string, p part, d digest.Digest) string {
	return s.repoPath(repo, p, d.Algorithm().String(), d.Encoded())
}

// Exists says whether anything was ever pushed to repo.
func (s *Store) Exists(repo string) bool {
	for _, p := range parts {
		if _, err := os.Stat(s.repoPath(repo, p)); err == nil {
			return true
		}
	}
	return false
}

// Repositories returns the names of all repositories, sorted.
func (s *Store) Repositories() ([]string, error) {
	root := filepath.Join(s.dir, "repos")
	var out []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if d.Name()[0] != '_' {
			return nil
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		if name := filepath.ToSlash(rel); len(out) == 0 || out[len(out)-1] != name {
			out = append(out, name)
		}
		return filepath.SkipDir
	})
	if err != nil {
		return nil, fmt.Errorf("list repositories: %w", err)
	}
	return sortedUnique(out), nil
}
