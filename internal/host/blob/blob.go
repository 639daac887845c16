// Package blob keeps large values that are written once and read in ranges:
// sealed logs, artifacts, caches, reports. One interface, [Store], with two
// homes: a directory of files ([OpenFiles]) and a bucket that speaks the S3
// protocol ([OpenS3]). [Open] chooses by URL.
//
// A blob is there completely or not at all: a Put that fails, is cancelled or
// dies leaves nothing that a reader sees, and what it left on the disk or in
// the bucket is swept later. Of several Puts of one key the last to end wins.
//
// What a blob is (its digest, its media type, whose it is) is recorded by the
// room that put it, in the transaction that makes it visible; the store knows
// only names, sizes and times.
package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Info is what a store knows of a blob.
type Info struct {
	Key     string
	Size    int64
	ModTime time.Time // when it was put, to the second
}

// Expect says what a blob must be. A Put of anything else fails and stores
// nothing. The zero value expects nothing.
type Expect struct {
	Size   int64  // bytes; 0 is any size, use Empty for none
	Empty  bool   // there must be no bytes
	Digest string // "sha256:…"; "" is any content
}

// Put is what was stored.
type Put struct {
	Size   int64
	Digest string // "sha256:…"
}

// Store keeps blobs. Its methods may be called from any goroutine. Errors for
// a blob that is not there wrap [problem.ErrNotFound], those for a bad key or
// range or an unmet expectation [problem.ErrInvalid].
type Store interface {
	// Put stores what r gives until io.EOF under key and returns when it is
	// durable. An error of r, or the end of ctx, ends it and stores nothing.
	Put(ctx context.Context, key string, r io.Reader, want Expect) (Put, error)
	// Get returns length bytes of the blob from offset on, or all of them to
	// the end when length is negative. A range that reaches beyond the end is
	// cut; one that begins beyond it is invalid. The caller closes the reader.
	// It gives one state of the blob even when that is replaced or deleted
	// meanwhile.
	Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, Info, error)
	Stat(ctx context.Context, key string) (Info, error)
	// List returns up to limit blobs whose keys begin with prefix and come
	// after the key after, in order of their keys (as bytes).
	List(ctx context.Context, prefix, after string, limit int) ([]Info, error)
	// Delete removes a blob. One that is not there is no error.
	Delete(ctx context.Context, key string) error
	// Sweep removes what interrupted Puts left behind.
	Sweep(ctx context.Context) error
	Close() error
}

const (
	maxKey     = 512
	maxSegment = 200 // a file name takes 255 bytes
)

// CheckKey tells whether key may name a blob: segments of ASCII letters,
// digits and ". _ - + =" with slashes between them, none of which begins with
// a dot. Whoever names blobs after what users say encodes it first. The error
// wraps [problem.ErrInvalid].
func CheckKey(key string) error {
	if why := badKey(key); why != "" {
		shown := key
		if len(shown) > 100 {
			shown = shown[:100] + "…"
		}
		return fmt.Errorf("key of a blob %q %s: %w", shown, why, problem.ErrInvalid)
	}
	return nil
}

func badKey(key string) string {
	if key == "" {
		return "is empty"
	}
	if len(key) > maxKey {
		return fmt.Sprintf("is longer than %d bytes", maxKey)
	}
	segment := 0
	for i := range len(key) {
		c := key[i]
		switch {
		case c == '/':
			if segment == 0 {
				return "has an empty segment"
			}
			segment = 0
			continue
		case c == '.' && segment == 0:
			return "has a segment that begins with a dot"
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-', c == '+', c == '=':
		default:
			return fmt.Sprintf("holds %q", c)
		}
		if segment++; segment > maxSegment {
			return fmt.Sprintf("has a segment longer than %d bytes", maxSegment)
		}
	}
	if segment == 0 {
		return "ends with a slash"
	}
	return ""
}

// checkRange refuses what is no range of a blob of size bytes and returns the
// number of bytes to give.
func checkRange(key string, size, offset, length int64) (int64, error) {
	if offset < 0 || offset > size {
		return 0, fmt.Errorf("read blob %s from byte %d of %d: %w", key, offset, size, problem.ErrInvalid)
	}
	if length < 0 || length > size-offset {
		length = size - offset
	}
	return length, nil
}

// measured counts and digests what is read through it and ends with ctx.
type measured struct {
	ctx  context.Context //nolint:containedctx // io.Reader has no other way to end
	r    io.Reader
	size int64
	sum  hash.Hash
}

func measure(ctx context.Context, r io.Reader) *measured {
	return &measured{ctx: ctx, r: r, sum: sha256.New()}
}

// Read reads on unless the context has ended.
func (m *measured) Read(p []byte) (int, error) {
	if err := context.Cause(m.ctx); err != nil {
		return 0, err
	}
	n, err := m.r.Read(p)
	m.size += int64(n)
	m.sum.Write(p[:n])
	if err != nil && !errors.Is(err, io.EOF) {
		return n, fmt.Errorf("read content: %w", err)
	}
	return n, err
}

func (m *measured) put() Put {
	return Put{Size: m.size, Digest: "sha256:" + hex.EncodeToString(m.sum.Sum(nil))}
}

// check compares what was read with what was expected.
func (e Expect) check(p Put) error {
	switch {
	case (e.Size != 0 || e.Empty) && p.Size != e.Size:
		return fmt.Errorf("content has %d bytes, want %d: %w", p.Size, e.Size, problem.ErrInvalid)
	case e.Digest != "" && p.Digest != e.Digest:
		return fmt.Errorf("content has digest %s, want %s: %w", p.Digest, e.Digest, problem.ErrInvalid)
	}
	return nil
}
