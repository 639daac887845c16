package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// s3 keeps blobs as objects of a bucket.
type s3 struct {
	core   *minio.Core
	bucket string
	prefix string // "" or with a slash at its end
}

var _ Store = (*s3)(nil)

// OpenS3 opens the store in a bucket. It does not ask the server anything, so
// that a bucket that is away for a moment does not keep Penstock from starting.
func OpenS3(o S3Options) (Store, error) {
	endpoint := o.Endpoint
	if endpoint == "" {
		endpoint = "https://s3.amazonaws.com"
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, bad("endpoint is not a URL")
	}
	lookup := minio.BucketLookupAuto // by the name of the host
	if o.PathStyle {
		lookup = minio.BucketLookupPath
	}
	core, err := minio.NewCore(u.Host, &minio.Options{
		Creds: credentialsOf(o), Secure: u.Scheme == "https", Region: o.Region, BucketLookup: lookup, MaxRetries: 4,
	})
	if err != nil {
		return nil, fmt.Errorf("use bucket %s: %w", o.Bucket, err)
	}
	s := &s3{core: core, bucket: o.Bucket}
	if o.Prefix != "" {
		s.prefix = o.Prefix + "/"
	}
	return s, nil
}

func credentialsOf(o S3Options) *credentials.Credentials {
	file := &credentials.FileAWSCredentials{Filename: o.Credentials, Profile: o.Profile}
	if o.Credentials != "" || o.Profile != "" {
		return credentials.New(file)
	}
	return credentials.NewChainCredentials([]credentials.Provider{&credentials.EnvAWS{}, file, &credentials.IAM{}})
}

func (s *s3) Close() error { return nil }

// fault turns an error of the protocol into one of ours.
func (s *s3) fault(op, key string, err error) error {
	r := minio.ToErrorResponse(err)
	switch r.Code {
	case minio.NoSuchKey:
		return fmt.Errorf("blob %s: %w", key, problem.ErrNotFound)
	case minio.InvalidRange:
		return fmt.Errorf("%s blob %s: %w: %w", op, key, err, problem.ErrInvalid)
	case "":
		return fmt.Errorf("%s blob %s: %w", op, key, err)
	}
	return fmt.Errorf("%s blob %s in bucket %s: %s: %w", op, key, s.bucket, r.Code, err)
}

func (s *s3) Stat(ctx context.Context, key string) (Info, error) {
	if err := CheckKey(key); err != nil {
		return Info{}, err
	}
	o, err := s.core.StatObject(ctx, s.bucket, s.prefix+key, minio.StatObjectOptions{})
	if err != nil {
		return Info{}, s.fault("look at", key, err)
	}
	return Info{Key: key, Size: o.Size, ModTime: o.LastModified.UTC()}, nil
}

func (s *s3) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, Info, error) {
	if err := CheckKey(key); err != nil {
		return nil, Info{}, err
	}
	if offset < 0 {
		_, err := checkRange(key, 0, offset, length)
		return nil, Info{}, err
	}
	var opts minio.GetObjectOptions
	switch end := offset + length - 1; {
	case length == 0:
		return s.nothing(ctx, key, offset)
	case length > 0 && end >= offset: // else it is more than any blob has
		opts.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, end))
	case offset > 0:
		opts.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	body, o, header, err := s.core.GetObject(ctx, s.bucket, s.prefix+key, opts)
	if err != nil {
		if minio.ToErrorResponse(err).Code == minio.InvalidRange {
			return s.nothing(ctx, key, offset)
		}
		return nil, Info{}, s.fault("read", key, err)
	}
	in := Info{Key: key, Size: o.Size, ModTime: o.LastModified.UTC()}
	if r := header.Get("Content-Range"); r != "" {
		if in.Size, err = wholeSize(r); err != nil {
			body.Close()
			return nil, in, s.fault("read", key, err)
		}
	}
	return body, in, nil
}

// nothing answers for a range without bytes, for which the protocol has no
// form: at the end of a blob, or of length 0.
func (s *s3) nothing(ctx context.Context, key string, offset int64) (io.ReadCloser, Info, error) {
	in, err := s.Stat(ctx, key)
	if err != nil {
		return nil, in, err
	}
	if _, err := checkRange(key, in.Size, offset, 0); err != nil {
		return nil, in, err
	}
	return http.NoBody, in, nil
}

// wholeSize reads the size of the whole from "bytes 3-6/10".
func wholeSize(contentRange string) (int64, error) {
	_, size, _ := strings.Cut(contentRange, "/")
	n, err := strconv.ParseInt(size, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("the server's Content-Range is %q", contentRange)
	}
	return n, nil
}

func (s *s3) Delete(ctx context.Context, key string) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	err := s.core.RemoveObject(ctx, s.bucket, s.prefix+key, minio.RemoveObjectOptions{})
	if err != nil {
		if err = s.fault("delete", key, err); errors.Is(err, problem.ErrNotFound) {
			return nil
		}
	}
	return err
}

// maxPage is how many names the protocol gives at once.
const maxPage = 1000

func (s *s3) List(ctx context.Context, prefix, after string, limit int) ([]Info, error) {
	if limit <= 0 {
		return nil, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the pages we do not read
	opts := minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true, MaxKeys: min(limit, maxPage)}
	if after != "" {
		opts.StartAfter = s.prefix + after
	}
	var list []Info
	for o := range s.core.ListObjectsIter(ctx, s.bucket, opts) {
		if o.Err != nil {
			return nil, s.fault("list", prefix, o.Err)
		}
		list = append(list, Info{Key: strings.TrimPrefix(o.Key, s.prefix), Size: o.Size, ModTime: o.LastModified.UTC()})
		if len(list) == limit {
			break
		}
	}
	return list, context.Cause(ctx)
}

// sweepAge is how old an unfinished upload must be before it counts as left
// behind: other servers may be uploading.
const sweepAge = 24 * time.Hour

func (s *s3) Sweep(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for u := range s.core.ListIncompleteUploads(ctx, s.bucket, s.prefix, true) {
		if u.Err != nil {
			return s.fault("sweep", s.prefix, u.Err)
		}
		if time.Since(u.Initiated) < sweepAge {
			continue
		}
		if err := s.core.AbortMultipartUpload(ctx, s.bucket, u.Key, u.UploadID); err != nil && minio.ToErrorResponse(err).Code != minio.NoSuchUpload {
			return s.fault("sweep", u.Key, err)
		}
	}
	return context.Cause(ctx)
}
