package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/minio/minio-go/v7"
)

const (
	partSize  = 8 << 20 // held in memory by each Put; what is smaller is one request
	maxParts  = 10_000  // of the protocol: 80 GB
	abortTime = 30 * time.Second
)

func (s *s3) Put(ctx context.Context, key string, r io.Reader, want Expect) (Put, error) {
	if err := CheckKey(key); err != nil {
		return Put{}, err
	}
	m := measure(ctx, r)
	var part bytes.Buffer
	last, err := fill(&part, m)
	if err != nil {
		return Put{}, fmt.Errorf("put blob %s: %w", key, err)
	}
	if !last {
		return s.putParts(ctx, key, &part, m, want)
	}
	p := m.put()
	if err := want.check(p); err != nil {
		return Put{}, fmt.Errorf("put blob %s: %w", key, err)
	}
	_, err = s.core.PutObject(ctx, s.bucket, s.prefix+key, bytes.NewReader(part.Bytes()), p.Size, "", sum(part.Bytes()),
		minio.PutObjectOptions{DisableContentSha256: true})
	if err != nil {
		return Put{}, s.fault("put", key, err)
	}
	return p, nil
}

// fill reads the next part and says whether it is the last.
func fill(part *bytes.Buffer, r io.Reader) (last bool, err error) {
	part.Reset()
	n, err := io.CopyN(part, r, partSize)
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	return n < partSize, err
}

// sum is what a request is signed with: the digest of its body. (The client
// would send the body in signed chunks otherwise.)
func sum(b []byte) string {
	d := sha256.Sum256(b)
	return hex.EncodeToString(d[:])
}

// putParts uploads part and what follows it in m. The object appears when all
// parts are there and are what was expected.
func (s *s3) putParts(ctx context.Context, key string, part *bytes.Buffer, m *measured, want Expect) (Put, error) {
	name := s.prefix + key
	id, err := s.core.NewMultipartUpload(ctx, s.bucket, name, minio.PutObjectOptions{})
	if err != nil {
		return Put{}, s.fault("put", key, err)
	}
	p, err := s.upload(ctx, key, id, part, m, want)
	if err == nil {
		return p, nil
	}
	// Also when ctx has ended; what stays even so is for Sweep.
	actx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
	defer cancel()
	if aerr := s.core.AbortMultipartUpload(actx, s.bucket, name, id); aerr != nil && minio.ToErrorResponse(aerr).Code != minio.NoSuchUpload {
		err = errors.Join(err, s.fault("abort upload of", key, aerr))
	}
	return Put{}, err
}

func (s *s3) upload(ctx context.Context, key, id string, part *bytes.Buffer, m *measured, want Expect) (Put, error) {
	var parts []minio.CompletePart
	for last := false; ; {
		if part.Len() > 0 {
			if len(parts) == maxParts {
				return Put{}, fmt.Errorf("put blob %s: it is larger than %d bytes", key, int64(maxParts)*partSize)
			}
			done, err := s.core.PutObjectPart(ctx, s.bucket, s.prefix+key, id, len(parts)+1, bytes.NewReader(part.Bytes()), int64(part.Len()),
				minio.PutObjectPartOptions{Sha256Hex: sum(part.Bytes()), DisableContentSha256: true})
			if err != nil {
				return Put{}, s.fault("put", key, err)
			}
			parts = append(parts, minio.CompletePart{PartNumber: done.PartNumber, ETag: done.ETag})
		}
		if last {
			break
		}
		var err error
		if last, err = fill(part, m); err != nil {
			return Put{}, fmt.Errorf("put blob %s: %w", key, err)
		}
	}
	p := m.put()
	if err := want.check(p); err != nil {
		return Put{}, fmt.Errorf("put blob %s: %w", key, err)
	}
	if _, err := s.core.CompleteMultipartUpload(ctx, s.bucket, s.prefix+key, id, parts, minio.PutObjectOptions{}); err != nil {
		return Put{}, s.fault("put", key, err)
	}
	return p, nil
}
