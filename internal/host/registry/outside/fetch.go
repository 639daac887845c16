package outside

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/registry/storage"
)

const (
	// manifestWait bounds what fetching a manifest may take, compareWait what
	// asking whether a tag has moved may.
	manifestWait = 30 * time.Second
	compareWait  = 10 * time.Second
	// stall is how long a download may stand still.
	stall = time.Minute
)

// Manifest returns a manifest of a repository that is filled from another
// registry. The warning, if any, says why it may be old.
func (r *Registry) Manifest(ctx context.Context, repo, reference string) (m storage.Manifest, warning string, err error) {
	if d, err := digest.Parse(reference); err == nil {
		m, err := r.byDigest(ctx, repo, d)
		return m, "", err
	}
	leave, err := r.flights.enter(ctx, repo+":"+reference)
	if err != nil {
		return storage.Manifest{}, "", err
	}
	defer leave()
	return r.byTag(ctx, repo, reference)
}

func (r *Registry) byDigest(ctx context.Context, repo string, d digest.Digest) (storage.Manifest, error) {
	m, err := r.o.Store.GetManifest(repo, d)
	if !errors.Is(err, storage.ErrManifestUnknown) {
		return m, err
	}
	leave, err := r.flights.enter(ctx, repo+"@"+d.String())
	if err != nil {
		return storage.Manifest{}, err
	}
	defer leave()
	if m, err := r.o.Store.GetManifest(repo, d); err == nil {
		return m, nil
	}
	return r.fetchManifest(ctx, repo, d.String(), "")
}

func (r *Registry) byTag(ctx context.Context, repo, tag string) (storage.Manifest, string, error) {
	have, err := r.o.Store.Resolve(repo, "", tag)
	if errors.Is(err, storage.ErrManifestUnknown) {
		m, err := r.fetchManifest(ctx, repo, tag, tag)
		return m, "", err
	}
	if err != nil {
		return storage.Manifest{}, "", err
	}
	m, err := r.o.Store.GetManifest(repo, have)
	if err != nil || r.isFresh(repo, tag) {
		return m, "", err
	}
	now, err := r.compare(ctx, repo, tag)
	switch {
	case err == nil && now == have:
		r.noteFresh(repo, tag)
		return m, "", nil
	case err == nil:
		m, err := r.fetchManifest(ctx, repo, tag, tag)
		return m, "", err
	case errors.Is(err, problem.ErrTimeout):
		r.o.Log.Debug("tag is served from the copy", "repository", repo, "tag", tag, "error", err)
		return m, "this is a copy that may be old: the other registry did not answer", nil
	}
	return storage.Manifest{}, "", err
}

func (r *Registry) isFresh(repo, tag string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.checked[repo+":"+tag]
	return ok && r.o.Now().Sub(at) < r.o.Fresh
}

// maxChecked bounds what is remembered about tags.
const maxChecked = 100_000

func (r *Registry) noteFresh(repo, tag string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.checked) >= maxChecked {
		clear(r.checked)
	}
	r.checked[repo+":"+tag] = r.o.Now()
}

// options are those of every request to another registry. Nobody's credentials
// are sent: what is fetched is for everybody here.
func (r *Registry) options(ctx context.Context) []remote.Option {
	return []remote.Option{
		remote.WithContext(ctx), remote.WithTransport(r.transport), remote.WithAuth(authn.Anonymous), remote.WithUserAgent(userAgent()),
		remote.WithRetryBackoff(remote.Backoff{Duration: 100 * time.Millisecond, Factor: 1, Steps: 1}),
	}
}

// compare asks what a tag names now.
func (r *Registry) compare(ctx context.Context, repo, tag string) (digest.Digest, error) {
	host, at, err := r.ask(repo)
	if err != nil {
		return "", err
	}
	wait, cancel := context.WithTimeout(ctx, compareWait)
	defer cancel()
	desc, err := remote.Head(at.Tag(tag), r.options(wait)...)
	if err != nil {
		return "", r.failed(ctx, host, err)
	}
	return digest.Digest(desc.Digest.String()), nil
}

// fetchManifest fetches a manifest and keeps it, under the tag unless that is
// empty. Its content is fetched when somebody asks for it.
func (r *Registry) fetchManifest(ctx context.Context, repo, reference, tag string) (storage.Manifest, error) {
	host, at, err := r.ask(repo)
	if err != nil {
		return storage.Manifest{}, err
	}
	var ref name.Reference = at.Digest(reference)
	if tag != "" {
		ref = at.Tag(tag)
	}
	wait, cancel := context.WithTimeout(ctx, manifestWait)
	defer cancel()
	got, err := remote.Get(ref, r.options(wait)...) // checks the digest
	if err != nil {
		return storage.Manifest{}, r.failed(ctx, host, err)
	}
	p := storage.Put{MediaType: string(got.MediaType), Data: got.Manifest, Tag: tag, Sparse: true}
	if tag == "" {
		p.Digest = digest.Digest(reference)
	}
	m, err := r.o.Store.PutManifest(ctx, repo, p)
	if err != nil {
		return storage.Manifest{}, err
	}
	r.o.Log.Info("manifest fetched", "from", host, "repository", repo, "reference", reference, "digest", m.Digest)
	if tag != "" {
		r.noteFresh(repo, tag)
	}
	return m, nil
}

// Blob fetches a blob of a repository that is filled from another registry,
// unless it is here.
func (r *Registry) Blob(ctx context.Context, repo, text string) error {
	d, err := storage.ParseDigest(text)
	if err != nil {
		return err
	}
	leave, err := r.flights.enter(ctx, repo+"@"+d.String())
	if err != nil {
		return err
	}
	defer leave()
	if _, err := r.o.Store.HasBlob(repo, d); !errors.Is(err, storage.ErrBlobUnknown) {
		return err
	}
	select {
	case r.downloads <- struct{}{}:
		defer func() { <-r.downloads }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return r.fetchBlob(ctx, repo, d)
}

func (r *Registry) fetchBlob(ctx context.Context, repo string, d digest.Digest) error {
	host, at, err := r.ask(repo)
	if err != nil {
		return err
	}
	flow, cancel := context.WithCancel(ctx)
	defer cancel()
	watch := watchFlow(stall, cancel)
	defer watch.stop()
	layer, err := remote.Layer(at.Digest(d.String()), r.options(flow)...)
	if err != nil {
		return r.failed(ctx, host, err)
	}
	body, err := layer.Compressed()
	if err != nil {
		return r.failedBlob(ctx, host, d, err)
	}
	defer body.Close()
	watch.r = body
	if err := r.o.Store.PutBlob(flow, repo, d, -1, watch); err != nil {
		if errors.Is(err, storage.ErrBroken) || errors.Is(err, context.Canceled) {
			return r.failed(ctx, host, err)
		}
		return err
	}
	r.o.Log.Info("blob fetched", "from", host, "repository", repo, "digest", d)
	return nil
}

func (r *Registry) failedBlob(ctx context.Context, host string, d digest.Digest, err error) error {
	err = r.failed(ctx, host, err)
	if errors.Is(err, storage.ErrManifestUnknown) {
		return fmt.Errorf("%w: %s", storage.ErrBlobUnknown, d)
	}
	return err
}

// ask returns where to ask about a repository, unless its registry is known to
// be down.
func (r *Registry) ask(repo string) (host string, at name.Repository, err error) {
	if host, at, err = r.remote(repo); err != nil {
		return "", at, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.o.Now().Before(r.down[host]) {
		return "", at, fmt.Errorf("%s did not answer a moment ago and is not asked again yet: %w", host, problem.ErrTimeout)
	}
	return host, at, nil
}

// failed explains why a registry did not give what it was asked for, and notes
// when it could not be reached. ctx is the caller's.
func (r *Registry) failed(ctx context.Context, host string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if t, ok := errors.AsType[*transport.Error](err); ok {
		switch t.StatusCode {
		case http.StatusNotFound:
			return fmt.Errorf("%w: %s does not have it", storage.ErrManifestUnknown, host)
		case http.StatusUnauthorized, http.StatusForbidden:
			return fmt.Errorf("%w: %s does not have it, or not for everybody", storage.ErrManifestUnknown, host)
		}
		return fmt.Errorf("%s answers %d: %w", host, t.StatusCode, problem.ErrTimeout)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down[host] = r.o.Now().Add(r.o.Down)
	return fmt.Errorf("%s cannot be reached: %w: %w", host, problem.ErrTimeout, err)
}

// flow ends a transfer that stands still.
type flow struct {
	r     io.Reader
	limit time.Duration
	timer *time.Timer
}

func watchFlow(limit time.Duration, end func()) *flow {
	return &flow{limit: limit, timer: time.AfterFunc(limit, end)}
}

func (f *flow) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	f.timer.Reset(f.limit)
	return n, err
}

func (f *flow) stop() { f.timer.Stop() }
