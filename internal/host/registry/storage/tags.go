package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/opencontainers/go-digest"

	"github.com/penstock-dev/penstock/internal/base/failpoint"
)

// A view is a set of tags that only some see, and see first: what a CI run has
// pushed and nobody has approved yet. The empty view is what everybody sees.

var viewForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)

// CheckView says what is wrong with the name of a view.
func CheckView(view string) error {
	if !viewForm.MatchString(view) {
		return fmt.Errorf("%w: %q is not the name of a view", ErrNameInvalid, short(view))
	}
	return nil
}

func (s *Store) tagPath(repo, view, tag string) string {
	if view == "" {
		return s.repoPath(repo, tagsPart, tag)
	}
	return s.repoPath(repo, viewsPart, view, tag)
}

// putTag makes a tag of view name d. The caller holds the lock and knows that
// the manifest is there.
func (s *Store) putTag(repo, view, tag string, d digest.Digest) error {
	path := s.tagPath(repo, view, tag)
	if old, err := readTag(path); err == nil && old == d {
		return nil
	}
	failpoint.Hit("registry.tag.before")
	if err := write(path, []byte(d)); err != nil {
		return fmt.Errorf("store tag: %w", err)
	}
	failpoint.Hit("registry.tag.after")
	return nil
}

func readTag(path string) (digest.Digest, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return ParseDigest(string(b))
}

// Resolve returns what tag names for those who see view: that view's tag, or
// everybody's.
func (s *Store) Resolve(repo, view, tag string) (digest.Digest, error) {
	defer s.repos.read(repo)()
	for _, v := range []string{view, ""} {
		d, err := readTag(s.tagPath(repo, v, tag))
		if err == nil {
			return d, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("read tag %s: %w", tag, err)
		}
	}
	return "", fmt.Errorf("%w: tag %s", ErrManifestUnknown, tag)
}

// Tags returns the tags that those see who see view, sorted.
func (s *Store) Tags(repo, view string) ([]string, error) {
	defer s.repos.read(repo)()
	all, err := names(s.repoPath(repo, tagsPart))
	if err == nil && view != "" {
		var own []string
		own, err = names(s.repoPath(repo, viewsPart, view))
		all = append(all, own...)
	}
	if err != nil {
		return nil, fmt.Errorf("list tags: %w", err)
	}
	return sortedUnique(all), nil
}

// DeleteTag removes a tag: that of the view if there is one, else everybody's.
func (s *Store) DeleteTag(repo, view, tag string) error {
	defer s.repos.write(repo)()
	for _, v := range []string{view, ""} {
		path := s.tagPath(repo, v, tag)
		if _, err := os.Stat(path); err != nil {
			continue
		}
		failpoint.Hit("registry.tag.delete.before")
		if err := remove(path); err != nil {
			return fmt.Errorf("delete tag: %w", err)
		}
		failpoint.Hit("registry.tag.delete.after")
		return nil
	}
	return fmt.Errorf("%w: tag %s", ErrManifestUnknown, tag)
}

// Release makes the tags of a view everybody's, and ends the view.
func (s *Store) Release(repo, view string) error {
	if err := CheckView(view); err != nil {
		return err
	}
	defer s.repos.write(repo)()
	own, err := names(s.repoPath(repo, viewsPart, view))
	if err != nil {
		return fmt.Errorf("release %s: %w", view, err)
	}
	for _, tag := range sortedUnique(own) {
		d, err := readTag(s.tagPath(repo, view, tag))
		if err != nil {
			return fmt.Errorf("read tag %s: %w", tag, err)
		}
		if err := s.putTag(repo, "", tag, d); err != nil {
			return err
		}
	}
	return s.discard(repo, view)
}

// Discard ends a view without anybody else seeing its tags.
func (s *Store) Discard(repo, view string) error {
	if err := CheckView(view); err != nil {
		return err
	}
	defer s.repos.write(repo)()
	return s.discard(repo, view)
}

func (s *Store) discard(repo, view string) error {
	dir := s.repoPath(repo, viewsPart, view)
	own, err := names(dir)
	if err != nil {
		return fmt.Errorf("end view %s: %w", view, err)
	}
	for _, tag := range own {
		if err := remove(filepath.Join(dir, tag)); err != nil {
			return fmt.Errorf("end view %s: %w", view, err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("end view %s: %w", view, err)
	}
	return nil
}

// dropTagsOf removes every tag of repo, in every view, that names d. The
// caller holds the lock.
func (s *Store) dropTagsOf(repo string, d digest.Digest) error {
	dirs := []string{s.repoPath(repo, tagsPart)}
	views, err := names(s.repoPath(repo, viewsPart))
	if err != nil {
		return fmt.Errorf("list tags: %w", err)
	}
	for _, v := range views {
		dirs = append(dirs, s.repoPath(repo, viewsPart, v))
	}
	for _, dir := range dirs {
		tags, err := names(dir)
		if err != nil {
			return fmt.Errorf("list tags: %w", err)
		}
		for _, t := range tags {
			path := filepath.Join(dir, t)
			if named, err := readTag(path); err != nil || named != d {
				continue
			}
			if err := remove(path); err != nil {
				return fmt.Errorf("delete tag: %w", err)
			}
		}
	}
	return nil
}
