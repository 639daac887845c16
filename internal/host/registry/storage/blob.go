package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/penstock-dev/penstock/internal/base/atomicfile"
	"github.com/penstock-dev/penstock/internal/base/failpoint"
)

// HasBlob returns the size of a blob of repo. Whoever asks is taken to rely on
// the answer: Collect leaves the blob alone for the time of grace from now on.
func (s *Store) HasBlob(repo string, d digest.Digest) (int64, error) {
	defer s.repos.read(repo)()
	if err := s.renew(repo, d); err != nil {
		return 0, err
	}
	fi, err := os.Stat(s.contentPath(d))
	if err != nil {
		return 0, fmt.Errorf("read blob %s: %w", d, err)
	}
	return fi.Size(), nil
}

// OpenBlob opens a blob of repo for reading.
func (s *Store) OpenBlob(repo string, d digest.Digest) (*os.File, error) {
	defer s.repos.read(repo)()
	if err := s.renew(repo, d); err != nil {
		return nil, err
	}
	f, err := os.Open(s.contentPath(d))
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", d, err)
	}
	return f, nil
}

// renew checks that repo has the blob, and notes that it was asked for. The
// caller holds the repository's lock.
func (s *Store) renew(repo string, d digest.Digest) error {
	path := s.linkPath(repo, blobsPart, d)
	fi, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s", ErrBlobUnknown, d)
	}
	if err != nil {
		return fmt.Errorf("look up blob %s: %w", d, err)
	}
	// Not at each look, which would write at each pull.
	if now := s.o.Now(); now.Sub(fi.ModTime()) > s.o.Grace/4 {
		if err := os.Chtimes(path, now, now); err != nil {
			return fmt.Errorf("renew blob %s: %w", d, err)
		}
	}
	return nil
}

// PutBlob stores what r has as a blob of repo. The content must have the
// digest d and, unless it is negative, the size.
func (s *Store) PutBlob(ctx context.Context, repo string, d digest.Digest, size int64, r io.Reader) error {
	u, err := s.newUpload(repo)
	if err != nil {
		return err
	}
	defer s.drop(u)
	if d.Algorithm() != digest.SHA256 {
		u.hash, u.algorithm = d.Algorithm().Hash(), d.Algorithm()
	}
	if err := s.append(ctx, u, Chunk{Start: -1, Length: size, Data: r}); err != nil {
		return err
	}
	return s.finish(u, d)
}

// Mount gives the blob d of the repository from to repo as well.
func (s *Store) Mount(repo string, d digest.Digest, from string) error {
	if _, err := s.HasBlob(from, d); err != nil {
		return err
	}
	s.sweep.RLock()
	defer s.sweep.RUnlock()
	s.fresh.add(d)
	if _, err := os.Stat(s.contentPath(d)); err != nil {
		return fmt.Errorf("%w: %s", ErrBlobUnknown, d)
	}
	return s.link(repo, d)
}

// FindBlob returns a repository that may says yes to and that has the blob.
func (s *Store) FindBlob(d digest.Digest, may func(repo string) bool) (repo string, err error) {
	all, err := s.Repositories()
	if err != nil {
		return "", err
	}
	for _, repo := range all {
		if _, err := os.Stat(s.linkPath(repo, blobsPart, d)); err == nil && may(repo) {
			return repo, nil
		}
	}
	return "", fmt.Errorf("%w: %s", ErrBlobUnknown, d)
}

// DeleteBlob takes a blob that no manifest needs from repo.
func (s *Store) DeleteBlob(repo string, d digest.Digest) error {
	defer s.repos.write(repo)()
	path := s.linkPath(repo, blobsPart, d)
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("%w: %s", ErrBlobUnknown, d)
	}
	used, err := s.referenced(repo)
	if err != nil {
		return err
	}
	if used[d] {
		return fmt.Errorf("%w: delete the manifest first", ErrInUse)
	}
	failpoint.Hit("registry.blob.delete.before")
	if err := remove(path); err != nil {
		return fmt.Errorf("delete blob: %w", err)
	}
	failpoint.Hit("registry.blob.delete.after")
	return nil
}

// place makes the file tmp, which is on the disk already, the content of d.
// The caller holds sweep for reading and has noted d as fresh.
func (s *Store) place(tmp string, d digest.Digest) error {
	path := s.contentPath(d)
	dir := filepath.Dir(path)
	failpoint.Hit("registry.content.before")
	err := inDir(dir, func() error { return os.Rename(tmp, path) })
	if err == nil {
		// Also when it was there before: its writer may not have come so far.
		err = atomicfile.SyncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("store content: %w", err)
	}
	failpoint.Hit("registry.content.after")
	return nil
}

// link notes that repo has the blob d, whose content is there. The caller
// holds sweep for reading.
func (s *Store) link(repo string, d digest.Digest) error {
	defer s.repos.read(repo)()
	path := s.linkPath(repo, blobsPart, d)
	dir := filepath.Dir(path)
	failpoint.Hit("registry.blob.link.before")
	err := inDir(dir, func() error {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		return f.Close()
	})
	if err == nil {
		now := s.o.Now()
		err = os.Chtimes(path, now, now)
	}
	if err == nil {
		err = atomicfile.SyncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("store blob: %w", err)
	}
	failpoint.Hit("registry.blob.link.after")
	return nil
}
