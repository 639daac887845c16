package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/penstock-dev/penstock/internal/base/atomicfile"
	"github.com/penstock-dev/penstock/internal/base/failpoint"
	"github.com/penstock-dev/penstock/internal/base/id"
)

// Manifest is a manifest of a repository.
type Manifest struct {
	Digest    digest.Digest
	MediaType string
	Subject   digest.Digest // "" without one
	Data      []byte        // exactly as it was pushed
}

// record is what a repository notes about a manifest. All of it but the media
// type, which the client may have said in a header only, is in the content.
type record struct {
	MediaType string `json:"mediaType"`
}

// Put says how a manifest is pushed.
type Put struct {
	MediaType string        // as the client says; "" if it does not
	Data      []byte        // at most MaxManifest
	Digest    digest.Digest // which it must have; "" if it is pushed by tag
	Tag       string        // which then names it; "" if it is pushed by digest
	View      string        // whose tag it is; "" for everybody's
	// Sparse takes an index whose manifests are not all there: a mirror gets
	// them when somebody asks for them.
	Sparse bool
}

// PutManifest stores a manifest in repo, which must have everything that it
// references, and then the tag.
func (s *Store) PutManifest(ctx context.Context, repo string, p Put) (Manifest, error) {
	if len(p.Data) > MaxManifest {
		return Manifest{}, fmt.Errorf("%w: manifests of more than %d bytes are not taken", ErrTooLarge, MaxManifest)
	}
	refs, err := parseManifest(p.MediaType, p.Data)
	if err != nil {
		return Manifest{}, err
	}
	d := digest.FromBytes(p.Data)
	if p.Digest != "" {
		if got := p.Digest.Algorithm().FromBytes(p.Data); got != p.Digest {
			return Manifest{}, fmt.Errorf("%w: the manifest's digest is %s, not %s", ErrDigestInvalid, got, p.Digest)
		}
		d = p.Digest
	}
	m := Manifest{Digest: d, MediaType: refs.mediaType, Subject: refs.subject, Data: p.Data}

	s.sweep.RLock()
	defer s.sweep.RUnlock()
	defer s.repos.write(repo)()
	if err := ctx.Err(); err != nil {
		return Manifest{}, err
	}
	if err := s.complete(repo, refs, p.Sparse); err != nil {
		return Manifest{}, err
	}
	s.fresh.add(d)
	if err := s.putContent(d, p.Data); err != nil {
		return Manifest{}, err
	}
	if err := s.putReferrer(repo, m, refs); err != nil {
		return Manifest{}, err
	}
	b, err := json.Marshal(record{refs.mediaType})
	if err != nil {
		return Manifest{}, fmt.Errorf("encode record: %w", err)
	}
	path := s.linkPath(repo, manifestsPart, d)
	if old, err := os.ReadFile(path); err != nil || string(old) != string(b) {
		failpoint.Hit("registry.manifest.before")
		if err := write(path, b); err != nil {
			return Manifest{}, fmt.Errorf("store manifest: %w", err)
		}
		failpoint.Hit("registry.manifest.after")
	}
	if p.Tag == "" {
		return m, nil
	}
	return m, s.putTag(repo, p.View, p.Tag, d)
}

// complete checks that repo has what refs needs. The caller holds the lock.
func (s *Store) complete(repo string, refs references, sparse bool) error {
	var missing []digest.Digest
	for _, d := range refs.blobs {
		if _, err := os.Stat(s.linkPath(repo, blobsPart, d)); err != nil && !sparse {
			missing = append(missing, d)
		}
	}
	for _, d := range refs.manifests {
		if _, err := os.Stat(s.linkPath(repo, manifestsPart, d)); err != nil && !sparse {
			missing = append(missing, d)
		}
	}
	if len(missing) > 0 {
		return &MissingError{missing}
	}
	return nil
}

// putContent stores bytes as the content of d.
func (s *Store) putContent(d digest.Digest, data []byte) error {
	if fi, err := os.Stat(s.contentPath(d)); err == nil && fi.Size() == int64(len(data)) {
		return atomicfile.SyncDir(filepath.Dir(s.contentPath(d)))
	}
	tmp := filepath.Join(s.dir, "uploads", ".manifest-"+id.New())
	defer os.Remove(tmp) // no more there after the rename
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return fmt.Errorf("store manifest: %w", err)
	}
	if err := syncFile(tmp, int64(len(data))); err != nil {
		return fmt.Errorf("store manifest: %w", err)
	}
	return s.place(tmp, d)
}

// GetManifest returns a manifest of repo.
func (s *Store) GetManifest(repo string, d digest.Digest) (Manifest, error) {
	defer s.repos.read(repo)()
	return s.manifest(repo, d)
}

// manifest is GetManifest for those who hold the lock.
func (s *Store) manifest(repo string, d digest.Digest) (Manifest, error) {
	b, err := os.ReadFile(s.linkPath(repo, manifestsPart, d))
	if errors.Is(err, fs.ErrNotExist) {
		return Manifest{}, fmt.Errorf("%w: %s", ErrManifestUnknown, d)
	}
	if err != nil {
		return Manifest{}, fmt.Errorf("read manifest %s: %w", d, err)
	}
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return Manifest{}, fmt.Errorf("read record of manifest %s: %w", d, err)
	}
	data, err := os.ReadFile(s.contentPath(d))
	if err != nil {
		return Manifest{}, fmt.Errorf("read manifest %s: %w", d, err)
	}
	return Manifest{Digest: d, MediaType: r.MediaType, Data: data}, nil
}

// DeleteManifest takes a manifest from repo, and before it every tag that
// names it.
func (s *Store) DeleteManifest(repo string, d digest.Digest) error {
	defer s.repos.write(repo)()
	m, err := s.manifest(repo, d)
	if err != nil {
		return err
	}
	if err := s.dropTagsOf(repo, d); err != nil {
		return err
	}
	failpoint.Hit("registry.manifest.delete.before")
	if err := remove(s.linkPath(repo, manifestsPart, d)); err != nil {
		return fmt.Errorf("delete manifest: %w", err)
	}
	failpoint.Hit("registry.manifest.delete.after")
	refs, err := parseManifest(m.MediaType, m.Data)
	if err != nil || refs.subject == "" {
		return nil //nolint:nilerr // it was parsed when it was pushed
	}
	return remove(s.referrerPath(repo, refs.subject, d))
}

// digestsIn lists the digests that a part of a repository has links for.
func (s *Store) digestsIn(repo string, p part) ([]digest.Digest, error) {
	var out []digest.Digest
	for _, a := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		list, err := names(s.repoPath(repo, p, a.String()))
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", repo, err)
		}
		for _, n := range list {
			if d := digest.NewDigestFromEncoded(a, n); d.Validate() == nil {
				out = append(out, d)
			}
		}
	}
	return out, nil
}

// referenced returns the blobs that the manifests of repo name. The caller
// holds the lock.
func (s *Store) referenced(repo string) (map[digest.Digest]bool, error) {
	all, err := s.digestsIn(repo, manifestsPart)
	if err != nil {
		return nil, err
	}
	used := map[digest.Digest]bool{}
	for _, d := range all {
		m, err := s.manifest(repo, d)
		if err != nil {
			return nil, err
		}
		refs, err := parseManifest(m.MediaType, m.Data)
		if err != nil {
			return nil, fmt.Errorf("read manifest %s of %s: %w", d, repo, err)
		}
		for _, list := range [][]digest.Digest{refs.blobs, refs.manifests, refs.others} {
			for _, d := range list {
				used[d] = true
			}
		}
	}
	return used, nil
}

// referrerPath is where the referrers of subject are noted: one directory for
// each subject, one file for each referrer.
func (s *Store) referrerPath(repo string, subject, d digest.Digest) string {
	flat := func(d digest.Digest) string { return d.Algorithm().String() + "-" + d.Encoded() }
	return s.repoPath(repo, referrersPart, flat(subject), flat(d))
}

// putReferrer notes that m refers to its subject, before m is there: the list
// of referrers leaves out those that are not.
func (s *Store) putReferrer(repo string, m Manifest, refs references) error {
	if refs.subject == "" {
		return nil
	}
	b, err := json.Marshal(ocispec.Descriptor{
		MediaType: m.MediaType, Digest: m.Digest, Size: int64(len(m.Data)),
		ArtifactType: refs.artifactType, Annotations: refs.annotations,
	})
	if err != nil {
		return fmt.Errorf("encode referrer: %w", err)
	}
	failpoint.Hit("registry.referrer.before")
	if err := write(s.referrerPath(repo, refs.subject, m.Digest), b); err != nil {
		return fmt.Errorf("store referrer: %w", err)
	}
	failpoint.Hit("registry.referrer.after")
	return nil
}

// Referrers returns the descriptors of the manifests of repo whose subject d
// is, sorted by digest.
func (s *Store) Referrers(repo string, d digest.Digest) ([]ocispec.Descriptor, error) {
	defer s.repos.read(repo)()
	dir := filepath.Dir(s.referrerPath(repo, d, d))
	list, err := names(dir)
	if err != nil {
		return nil, fmt.Errorf("list referrers: %w", err)
	}
	out := []ocispec.Descriptor{}
	for _, n := range sortedUnique(list) {
		b, err := os.ReadFile(filepath.Join(dir, n))
		if err != nil {
			return nil, fmt.Errorf("read referrer: %w", err)
		}
		var desc ocispec.Descriptor
		if err := json.Unmarshal(b, &desc); err != nil {
			return nil, fmt.Errorf("read referrer %s: %w", n, err)
		}
		if _, err := os.Stat(s.linkPath(repo, manifestsPart, desc.Digest)); err != nil {
			continue // its push was cut off, or its deletion
		}
		out = append(out, desc)
	}
	return out, nil
}
