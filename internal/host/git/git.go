// Package git hosts bare repositories: it serves them over smart HTTP through
// git's own http-backend, reads them for other rooms, and turns every push into
// exactly one event.
//
// The repositories themselves are the truth about refs. The store holds what
// was last seen of them; the difference is what was pushed since, see
// [Server.settle]. That comparison runs before a push is acknowledged and at
// every start, so a crash between git's update and ours neither loses nor
// doubles an event.
package git

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// Authorizer says who makes a request and whether they may read, or write, the
// repository. An error wraps problem.ErrForbidden, and
// problem.ErrUnauthenticated when other credentials would help.
type Authorizer interface {
	AuthorizeGit(r *http.Request, repo string, write bool) (user string, err error)
}

// Publisher wakes whoever acts on pushes.
type Publisher interface {
	Publish(event.Push)
}

// Options configures a [Server].
type Options struct {
	Root    string            // required: directory of the repositories
	DB      *store.DB         // required
	Access  Authorizer        // required to serve HTTP
	Pushes  Publisher         // told after a push is in the event log; may be nil
	URLs    []string          // addresses of the /git/ tree: "http://penstock.localhost:7080/git/"
	Aliases map[string]string // outside URLs and the hosted repository that stands for each
	Now     func() time.Time  // default time.Now
	Log     *slog.Logger      // default discards

	MaxPush      int64 // bytes of one push, default 2 GiB
	MaxProcesses int   // git processes serving clients at a time, default 32; a quarter for one user
}

// Server is the Git host. It serves the tree /git/ as an http.Handler. Its
// methods may be called from any goroutine.
type Server struct {
	root    string
	db      *store.DB
	access  Authorizer
	pushes  Publisher
	names   hosted
	now     func() time.Time
	log     *slog.Logger
	maxPush int64
	git     program
	slots   *slots
	pace    pace

	wake   chan struct{} // tells Run that unsettled grew
	packed chan struct{} // tells Run that packs grew

	mu        sync.Mutex
	locks     map[string]chan struct{} // by repository; holds a token when free
	unsettled map[string]struct{}      // refs may differ from the record
	suspects  map[string]struct{}      // a git of the last server may be at work
	packs     map[string]struct{}      // to look at for maintenance
}

const (
	defaultMaxPush      = 2 << 30
	defaultMaxProcesses = 32
)

// New opens the host, removes what a crash left half-made and records pushes
// that were received but not recorded. Nothing else may use Root.
func New(ctx context.Context, o Options) (*Server, error) {
	s := &Server{
		root: o.Root, db: o.DB, access: o.Access, pushes: o.Pushes, now: o.Now, log: o.Log, maxPush: o.MaxPush,
		pace:  defaultPace,
		locks: map[string]chan struct{}{}, unsettled: map[string]struct{}{},
		suspects: map[string]struct{}{}, packs: map[string]struct{}{},
		wake: make(chan struct{}, 1), packed: make(chan struct{}, 1),
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.maxPush <= 0 {
		s.maxPush = defaultMaxPush
	}
	if o.MaxProcesses <= 0 {
		o.MaxProcesses = defaultMaxProcesses
	}
	s.slots = newSlots(o.MaxProcesses)
	var err error
	if s.names, err = newHosted(o.URLs, o.Aliases); err != nil {
		return nil, err
	}
	if s.root, err = filepath.Abs(o.Root); err != nil {
		return nil, fmt.Errorf("git directory: %w", err)
	}
	if err := os.MkdirAll(s.root, 0o700); err != nil {
		return nil, fmt.Errorf("git directory: %w", err)
	}
	if s.git, err = findGit(ctx, s.root, s.maxPush); err != nil {
		return nil, err
	}
	if err := s.db.Migrate(ctx, "git", migrations); err != nil {
		return nil, err
	}
	if err := s.recover(ctx); err != nil {
		return nil, fmt.Errorf("recover git repositories: %w", err)
	}
	return s, nil
}

// Run keeps the repositories in shape until ctx ends: it records pushes whose
// recording failed, and packs what has grown. It returns ctx's error.
func (s *Server) Run(ctx context.Context) error {
	var packer sync.WaitGroup
	defer packer.Wait()
	packer.Go(func() { s.maintainLoop(ctx) })
	retry := time.NewTicker(retryUnsettled)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.wake:
		case <-retry.C:
		}
		s.settleRest(ctx)
	}
}

// retryUnsettled is how often Run tries again to record a push.
const retryUnsettled = 2 * time.Second

// dir is where the repository called name lives.
func (s *Server) dir(name string) string {
	return filepath.Join(s.root, filepath.FromSlash(name)+".git")
}

// exists says whether the repository called name is hosted here.
func (s *Server) exists(name string) bool {
	fi, err := os.Lstat(s.dir(name))
	return err == nil && fi.IsDir()
}

// errBusy says that something else kept a repository for too long.
var errBusy = errors.New("the repository is busy")

// lock takes the repository's lock, under which refs change and are recorded.
func (s *Server) lock(ctx context.Context, name string) (unlock func(), err error) {
	s.mu.Lock()
	c := s.locks[name]
	if c == nil {
		c = make(chan struct{}, 1)
		c <- struct{}{}
		s.locks[name] = c
	}
	s.mu.Unlock()
	select {
	case <-c:
		return sync.OnceFunc(func() { c <- struct{}{} }), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: %w (%w)", name, errBusy, ctx.Err())
	}
}
