// Package registry serves container images: the OCI distribution
// specification, version 1.1, under /v2/.
//
// It is HTTP over package storage, which keeps the content, and over package
// outside, which knows the images of other registries: those that an alias
// maps to a repository here, and those that are fetched and kept when somebody
// asks for them. Who may read and write what is decided by an [Access].
package registry

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/penstock-dev/penstock/internal/base/pace"
	"github.com/penstock-dev/penstock/internal/host/registry/storage"
)

// User is who makes a request.
type User struct {
	Name string
	// May says whether the user may read, or write, a repository.
	May func(repo string, write bool) bool
}

// Access knows who makes requests. Its error wraps problem.ErrUnauthenticated
// when other credentials would help, problem.ErrForbidden, or has a method
// RetryAfter when the client is to come again later.
type Access interface {
	Identify(r *http.Request) (User, error)
}

// Quarantine holds back what has been pushed until it is approved: it says in
// which view of a repository's tags a user pushes and looks first, "" for the
// one that everybody sees.
type Quarantine interface {
	View(user, repo string) string
}

// Outside knows images of other registries. Names have their registry before
// them: docker.io/library/busybox.
type Outside interface {
	// Lookup returns the repository here that stands for a name. fetch says
	// that its content comes from there when it is not here.
	Lookup(name string) (repo string, fetch bool, err error)
	// Manifest returns a manifest of a repository that is fetched. The
	// warning is for the client: that it may be old.
	Manifest(ctx context.Context, repo, reference string) (m storage.Manifest, warning string, err error)
	// Blob brings a blob of such a repository here.
	Blob(ctx context.Context, repo, digest string) error
}

// Options configures a [Server].
type Options struct {
	Store      *storage.Store // required
	Access     Access         // required
	Outside    Outside        // nil: other registries are unknown
	Quarantine Quarantine     // nil: what is pushed is everybody's at once
	// Names are the hosts, with ports, under which clients know this registry.
	Names []string
	Log   *slog.Logger // default discards
}

// Server is the registry. It is an http.Handler for /v2/.
type Server struct {
	store      *storage.Store
	access     Access
	outside    Outside
	quarantine Quarantine
	names      map[string]bool
	pace       pace.Pace
	log        *slog.Logger
}

// New returns a registry over a store.
func New(o Options) *Server {
	s := &Server{store: o.Store, access: o.Access, outside: o.Outside, quarantine: o.Quarantine, names: map[string]bool{}, pace: pace.Default, log: o.Log}
	for _, n := range o.Names {
		s.names[n] = true
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s
}

// Garbage is collected for the first time a while after the start, when others
// have less to do, and then regularly.
const (
	firstCollection = 10 * time.Minute
	collectEvery    = 6 * time.Hour
)

// Run collects garbage until ctx is done.
func (s *Server) Run(ctx context.Context) error {
	timer := time.NewTimer(firstCollection)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		c, err := s.store.Collect(ctx)
		switch {
		case err != nil && !errors.Is(err, context.Canceled):
			// What is wrong with one repository must not end the others.
			s.log.Error("garbage was not collected", "error", err)
		case c != storage.Collected{}:
			s.log.Info("collected garbage", "uploads", c.Uploads, "links", c.Links, "blobs", c.Content, "bytes", c.Bytes)
		}
		timer.Reset(collectEvery)
	}
}
