package storage

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/penstock-dev/penstock/internal/base/failpoint"
	"github.com/penstock-dev/penstock/internal/base/id"
)

// busyWait is how long a request waits for another that writes to the same
// upload: one whose client has gone may take a moment to notice.
const busyWait = 10 * time.Second

// uploads are the uploads that this process knows. Others may be on disk from
// before it started.
type uploads struct {
	mu   sync.Mutex
	open map[string]*upload
}

// upload is a blob that is being uploaded. Whoever has the token in turn may
// use the fields below it.
type upload struct {
	id, repo, dir string

	turn      chan struct{}
	size      int64
	hash      hash.Hash // of all size bytes; nil when they must be read again
	algorithm digest.Algorithm
	gone      bool
}

func (u *upload) data() string { return filepath.Join(u.dir, "data") }

var uploadID = regexp.MustCompile(`^[0-9a-f]{20}$`)

// StartUpload begins an upload to repo.
func (s *Store) StartUpload(repo string) (id string, err error) {
	u, err := s.newUpload(repo)
	if err != nil {
		return "", err
	}
	<-u.turn
	return u.id, nil
}

// newUpload begins an upload. It is the caller's turn.
func (s *Store) newUpload(repo string) (*upload, error) {
	s.uploads.mu.Lock()
	defer s.uploads.mu.Unlock()
	if len(s.uploads.open) >= s.o.MaxUploads {
		return nil, ErrUploadsFull
	}
	u := s.upload(id.New(), repo)
	u.hash, u.algorithm = digest.SHA256.Hash(), digest.SHA256
	u.turn <- struct{}{}
	// Nothing here is synced: an upload ends with the machine, what has been
	// acknowledged is a blob.
	if err := os.Mkdir(u.dir, 0o700); err != nil {
		return nil, fmt.Errorf("start upload: %w", err)
	}
	err := os.WriteFile(filepath.Join(u.dir, "repository"), []byte(repo), 0o600)
	if err == nil {
		err = os.WriteFile(u.data(), nil, 0o600)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start upload: %w", err), os.RemoveAll(u.dir))
	}
	s.uploads.open[u.id] = u
	return u, nil
}

func (s *Store) upload(id, repo string) *upload {
	return &upload{id: id, repo: repo, dir: filepath.Join(s.dir, "uploads", id), turn: make(chan struct{}, 1)}
}

// take finds the upload and waits for its turn. The caller calls release.
func (s *Store) take(ctx context.Context, repo, id string) (u *upload, release func(), err error) {
	if u, err = s.find(repo, id); err != nil {
		return nil, nil, err
	}
	timeout := time.NewTimer(busyWait)
	defer timeout.Stop()
	select {
	case u.turn <- struct{}{}:
	case <-timeout.C:
		return nil, nil, ErrUploadBusy
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	release = func() { <-u.turn }
	if u.gone {
		release()
		return nil, nil, ErrUploadUnknown
	}
	return u, release, nil
}

func (s *Store) find(repo, id string) (*upload, error) {
	if !uploadID.MatchString(id) {
		return nil, ErrUploadUnknown
	}
	s.uploads.mu.Lock()
	defer s.uploads.mu.Unlock()
	u := s.uploads.open[id]
	if u == nil {
		// From before this process: its bytes are there, their hash is not.
		u = s.upload(id, repo)
		b, err := os.ReadFile(filepath.Join(u.dir, "repository"))
		if err != nil {
			return nil, ErrUploadUnknown
		}
		fi, err := os.Stat(u.data())
		if err != nil {
			return nil, ErrUploadUnknown
		}
		u.repo, u.size = string(b), fi.Size()
		s.uploads.open[id] = u
	}
	if u.repo != repo {
		return nil, ErrUploadUnknown
	}
	return u, nil
}

// UploadSize returns how many bytes of an upload have arrived.
func (s *Store) UploadSize(ctx context.Context, repo, id string) (int64, error) {
	u, release, err := s.take(ctx, repo, id)
	if err != nil {
		return 0, err
	}
	defer release()
	return u.size, nil
}

// Chunk is a part of an upload.
type Chunk struct {
	Start  int64 // position of the first byte; -1: whatever comes next
	Length int64 // -1: until the end of Data
	Data   io.Reader
}

// Append adds a chunk to an upload and returns its size then. When reading the
// chunk fails, what came before is kept; a client goes on from there.
func (s *Store) Append(ctx context.Context, repo, id string, c Chunk) (size int64, err error) {
	u, release, err := s.take(ctx, repo, id)
	if err != nil {
		return 0, err
	}
	defer release()
	err = s.append(ctx, u, c)
	return u.size, err
}

// Finish adds a last chunk, which may be empty, and makes the upload a blob of
// its repository if it has the digest. The upload ends either way, unless the
// chunk could not be read.
func (s *Store) Finish(ctx context.Context, repo, id string, c Chunk, d digest.Digest) error {
	u, release, err := s.take(ctx, repo, id)
	if err != nil {
		return err
	}
	defer release()
	if err := s.append(ctx, u, c); err != nil {
		return err
	}
	defer s.drop(u)
	return s.finish(u, d)
}

// Cancel ends an upload and frees what it holds.
func (s *Store) Cancel(ctx context.Context, repo, id string) error {
	u, release, err := s.take(ctx, repo, id)
	if err != nil {
		return err
	}
	defer release()
	s.drop(u)
	return nil
}

// drop forgets an upload whose turn the caller has. What cannot be removed is
// left for Collect.
func (s *Store) drop(u *upload) {
	u.gone = true
	os.RemoveAll(u.dir)
	s.uploads.mu.Lock()
	defer s.uploads.mu.Unlock()
	delete(s.uploads.open, u.id)
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

func (s *Store) append(ctx context.Context, u *upload, c Chunk) (err error) {
	if c.Start >= 0 && c.Start != u.size {
		return fmt.Errorf("%w: it begins at %d, not at %d", ErrRange, c.Start, u.size)
	}
	room := s.o.MaxBlob - u.size
	if c.Length > room {
		return fmt.Errorf("%w: blobs of more than %d bytes are not taken", ErrTooLarge, s.o.MaxBlob)
	}
	if c.Length == 0 {
		return nil
	}
	f, err := os.OpenFile(u.data(), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("write upload: %w", err)
	}
	defer func() {
		if cerr := f.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("write upload: %w", cerr)
		}
	}()
	begin := u.size
	limit := room
	if c.Length >= 0 {
		limit = c.Length
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, rerr := c.Data.Read(*buf)
		if u.size-begin+int64(n) > limit {
			return errors.Join(tooLong(c, s.o.MaxBlob), u.cut(f, begin))
		}
		if n > 0 {
			if _, err := f.WriteAt((*buf)[:n], u.size); err != nil {
				return fmt.Errorf("write upload: %w", err)
			}
			u.size += int64(n)
			if u.hash != nil {
				u.hash.Write((*buf)[:n])
			}
		}
		if errors.Is(rerr, io.EOF) {
			break
		}
		if rerr != nil {
			return fmt.Errorf("%w: %w", ErrBroken, rerr)
		}
	}
	if got := u.size - begin; c.Length >= 0 && got != c.Length {
		return errors.Join(fmt.Errorf("%w: %d bytes of %d came", ErrSizeInvalid, got, c.Length), u.cut(f, begin))
	}
	return nil
}

func tooLong(c Chunk, limit int64) error {
	if c.Length >= 0 {
		return fmt.Errorf("%w: more than %d bytes came", ErrSizeInvalid, c.Length)
	}
	return fmt.Errorf("%w: blobs of more than %d bytes are not taken", ErrTooLarge, limit)
}

// cut takes a chunk that is no good off the end.
func (u *upload) cut(f *os.File, size int64) error {
	if u.size == size {
		return nil
	}
	u.size, u.hash = size, nil
	return f.Truncate(size)
}

// finish makes u a blob of its repository.
func (s *Store) finish(u *upload, d digest.Digest) error {
	got, err := u.digest(d.Algorithm())
	if err != nil {
		return err
	}
	if got != d {
		return fmt.Errorf("%w: the content's digest is %s, not %s", ErrDigestInvalid, got, d)
	}
	failpoint.Hit("registry.upload.sync.before")
	if err := syncFile(u.data(), u.size); err != nil {
		return fmt.Errorf("store blob: %w", err)
	}
	failpoint.Hit("registry.upload.sync.after")
	s.sweep.RLock()
	defer s.sweep.RUnlock()
	s.fresh.add(d)
	if err := s.place(u.data(), d); err != nil {
		return err
	}
	return s.link(u.repo, d)
}

// digest returns the digest of what has arrived, which is known or is read.
func (u *upload) digest(a digest.Algorithm) (digest.Digest, error) {
	if u.hash != nil && u.algorithm == a {
		return digest.NewDigest(a, u.hash), nil
	}
	f, err := os.Open(u.data())
	if err != nil {
		return "", fmt.Errorf("read upload: %w", err)
	}
	defer f.Close()
	d, err := a.FromReader(io.LimitReader(f, u.size))
	if err != nil {
		return "", fmt.Errorf("read upload: %w", err)
	}
	return d, nil
}

// syncFile puts a file on the disk. Beyond size may be what a failed write
// left.
func syncFile(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if fi.Size() != size {
		if err := f.Truncate(size); err != nil {
			return err
		}
	}
	return f.Sync()
}

// expireUploads ends the uploads that got nothing since before.
func (s *Store) expireUploads(ctx context.Context, before time.Time) (n int, err error) {
	ids, err := names(filepath.Join(s.dir, "uploads"))
	if err != nil {
		return 0, fmt.Errorf("list uploads: %w", err)
	}
	for _, id := range ids {
		if ctx.Err() != nil {
			return n, ctx.Err()
		}
		dir := filepath.Join(s.dir, "uploads", id)
		fi, err := os.Stat(filepath.Join(dir, "data"))
		if errors.Is(err, fs.ErrNotExist) {
			fi, err = os.Stat(dir)
		}
		if err != nil || fi.ModTime().After(before) {
			continue // ended just now, or alive
		}
		ended, err := s.expire(id, dir)
		if err != nil {
			return n, err
		}
		if ended {
			n++
		}
	}
	return n, nil
}

// expire ends one upload, unless a request is at it.
func (s *Store) expire(id, dir string) (bool, error) {
	s.uploads.mu.Lock()
	defer s.uploads.mu.Unlock()
	if u := s.uploads.open[id]; u != nil {
		select {
		case u.turn <- struct{}{}:
			defer func() { <-u.turn }()
		default:
			return false, nil
		}
		u.gone = true
		delete(s.uploads.open, id)
	}
	if err := os.RemoveAll(dir); err != nil {
		return false, fmt.Errorf("remove upload: %w", err)
	}
	return true, nil
}
