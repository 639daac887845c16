// Package outside knows container images of other registries. An alias maps a
// name there to a repository here, so that files which name it stay as they
// are. What has no alias is fetched from its registry when somebody asks for
// it, if that registry is one that is mirrored, and kept: by digest for ever,
// by tag until the other registry says that it has moved. Without a network,
// what is here is served.
package outside

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/penstock-dev/penstock/internal/base/buildinfo"
	"github.com/penstock-dev/penstock/internal/host/registry/storage"
)

// Prefix begins the names of repositories that hold what was fetched.
const Prefix = "mirror/"

// Mirrored are the registries that are fetched from unless told otherwise:
// those that images of public projects come from.
var Mirrored = []string{
	"docker.io", "ghcr.io", "quay.io", "gcr.io", "mirror.gcr.io", "registry.k8s.io", "mcr.microsoft.com", "public.ecr.aws",
	"registry.gitlab.com", "cgr.dev",
}

// Options configures a [Registry].
type Options struct {
	Store *storage.Store // required
	// AliasFile holds the aliases. Required.
	AliasFile string
	// Mirrors are the registries to fetch from, and for each the address,
	// "" for https at its own name. Nil means [Mirrored].
	Mirrors map[string]string
	// Fresh is how long a tag is served without asking whether it has moved.
	// Default one minute.
	Fresh time.Duration
	// Down is how long a registry that could not be reached is not asked
	// again. Default 30 seconds.
	Down time.Duration
	Now  func() time.Time // default time.Now
	Log  *slog.Logger     // default discards
}

// Registry answers for all other registries. Its methods may be called by many
// goroutines.
type Registry struct {
	o         Options
	aliases   aliases
	transport http.RoundTripper
	flights   flights
	downloads chan struct{} // bounds what is fetched at once

	mu      sync.Mutex
	checked map[string]time.Time // when a tag was last compared
	down    map[string]time.Time // until when a registry is not asked
}

// maxDownloads bounds the blobs that are fetched at once.
const maxDownloads = 8

// New reads the aliases.
func New(o Options) (*Registry, error) {
	if o.Mirrors == nil {
		o.Mirrors = map[string]string{}
		for _, h := range Mirrored {
			o.Mirrors[h] = ""
		}
	}
	if o.Fresh == 0 {
		o.Fresh = time.Minute
	}
	if o.Down == 0 {
		o.Down = 30 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r := &Registry{o: o, aliases: aliases{file: o.AliasFile}, downloads: make(chan struct{}, maxDownloads), checked: map[string]time.Time{}, down: map[string]time.Time{}}
	if err := r.aliases.load(); err != nil {
		return nil, err
	}
	for host, address := range o.Mirrors {
		if _, err := upstream(host, address, "library/x"); err != nil {
			return nil, fmt.Errorf("mirror %s: %w", host, err)
		}
	}
	r.transport = &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 20 * time.Second,
		IdleConnTimeout:       time.Minute,
		MaxIdleConnsPerHost:   maxDownloads,
	}
	return r, nil
}

func userAgent() string { return "penstock/" + buildinfo.Get().Version }

// Lookup returns the repository here that stands for a name in another
// registry, with its host first. fetch says that it is one that is filled from
// there.
func (r *Registry) Lookup(full string) (repo string, fetch bool, err error) {
	n, err := parseName(full)
	if err != nil {
		return "", false, err
	}
	if repo, ok := r.aliases.find(n.String()); ok {
		return repo, false, storage.CheckName(repo)
	}
	if _, ok := r.o.Mirrors[n.host]; !ok {
		return "", false, fmt.Errorf("%w: %s is no alias here, and %s is not mirrored", storage.ErrNameUnknown, n, n.host)
	}
	repo = n.repository()
	return repo, true, storage.CheckName(repo)
}

// upstream is a repository of another registry as the client library has it.
func upstream(host, address, path string) (name.Repository, error) {
	var opts []name.Option
	at := host
	if address != "" {
		u, err := url.Parse(address)
		switch {
		case err != nil:
			return name.Repository{}, err
		case u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.Path != "" && u.Path != "/", u.User != nil:
			return name.Repository{}, fmt.Errorf("%q is not of the form https://HOST", address)
		case u.Scheme == "http":
			opts = append(opts, name.Insecure)
		}
		at = u.Host
	}
	return name.NewRepository(at+"/"+path, opts...)
}

// remote returns where a repository here is filled from.
func (r *Registry) remote(repo string) (host string, _ name.Repository, err error) {
	n, err := parseRepository(repo)
	if err != nil {
		return "", name.Repository{}, err
	}
	address, ok := r.o.Mirrors[n.host]
	if !ok {
		return "", name.Repository{}, fmt.Errorf("%w: %s is not mirrored", storage.ErrNameUnknown, n.host)
	}
	at, err := upstream(n.host, address, n.path)
	return n.host, at, err
}

// flights lets one caller at a time do the work of a key.
type flights struct {
	mu sync.Mutex
	m  map[string]chan struct{}
}

// enter waits for the turn of key. The caller calls leave.
func (f *flights) enter(ctx context.Context, key string) (leave func(), err error) {
	for {
		f.mu.Lock()
		if f.m == nil {
			f.m = map[string]chan struct{}{}
		}
		other, busy := f.m[key]
		if !busy {
			done := make(chan struct{})
			f.m[key] = done
			f.mu.Unlock()
			return func() {
				f.mu.Lock()
				delete(f.m, key)
				f.mu.Unlock()
				close(done)
			}, nil
		}
		f.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
