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
	"github.com/penstock-dev/penstock/internal/base/pace"
	"github.com/penstock-dev/penstock/internal/host/audit"
	"github.com/penstock-dev/penstock/internal/host/blob"
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

	// Checks look at pushes after the rules of their repository have.
	Checks []Check
	// CheckTime bounds all checks of one push, default 5 minutes.
	CheckTime time.Duration
	// Secrets keep the credentials of mirrors; default is a file for each,
	// readable by us only, under Root.
	Secrets  Secrets
	Blobs    blob.Store // of Git LFS, which is not served without
	Roles    Roles      // for rules that name roles; may be nil
	Statuses Statuses   // for rules that require status checks; may be nil

	MaxPush       int64 // bytes of one push, default 2 GiB
	MaxFile       int64 // bytes of one file, default 100 MiB
	MaxRepository int64 // bytes of one repository's objects, default 20 GiB
	MaxLFSFile    int64 // bytes of one object of Git LFS, default 5 GiB
	MaxLFS        int64 // bytes of all those of a repository, default 100 GiB
	MaxProcesses  int   // git processes serving clients at a time, default 32; a quarter for one user
}

// Server is the Git host. It serves the tree /git/ as an http.Handler. Its
// methods may be called from any goroutine.
type Server struct {
	root    string
	db      *store.DB
	access  Authorizer
	pushes  Publisher
	names   *hosted
	now     func() time.Time
	log     *slog.Logger
	maxPush int64

	maxRepository, maxLFSFile, maxLFS int64

	git     program
	mirrors *mirrors
	secrets Secrets
	blobs   blob.Store
	checks  []Check
	roles   Roles
	states  Statuses

	checkTime time.Duration
	slots     *slots
	pace      pace.Pace

	wake   chan struct{} // tells Run that unsettled grew
	packed chan struct{} // tells Run that packs grew

	mu        sync.Mutex
	locks     map[string]chan struct{} // by repository; holds a token when free
	unsettled map[string]struct{}      // refs may differ from the record
	suspects  map[string]struct{}      // a git of the last server may be at work
	packs     map[string]struct{}      // to look at for maintenance
}

const (
	defaultMaxPush       = 2 << 30
	defaultMaxFile       = 100 << 20
	defaultMaxRepository = 20 << 30
	defaultMaxLFSFile    = 5 << 30
	defaultMaxLFS        = 100 << 30
	defaultMaxProcesses  = 32
	defaultCheckTime     = 5 * time.Minute
)

// New opens the host, removes what a crash left half-made and records pushes
// that were received but not recorded. Nothing else may use Root.
func New(ctx context.Context, o Options) (*Server, error) {
	s := &Server{
		root: o.Root, db: o.DB, access: o.Access, pushes: o.Pushes, now: o.Now, log: o.Log,
		pace:  pace.Default,
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
	s.maxPush = orDefault(o.MaxPush, defaultMaxPush)
	s.checkTime = orDefault(o.CheckTime, defaultCheckTime)
	o.MaxProcesses = orDefault(o.MaxProcesses, defaultMaxProcesses)
	s.roles, s.states, s.secrets = o.Roles, o.Statuses, o.Secrets
	s.mirrors = newMirrors()
	s.blobs = o.Blobs
	s.maxLFSFile = orDefault(o.MaxLFSFile, defaultMaxLFSFile)
	s.maxLFS = orDefault(o.MaxLFS, defaultMaxLFS)
	s.maxRepository = orDefault(o.MaxRepository, defaultMaxRepository)
	s.checks = append([]Check{
		protection{s},
		sizes{server: s, file: orDefault(o.MaxFile, defaultMaxFile), repository: s.maxRepository},
	}, o.Checks...)
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
	if err := writeHooks(s.root); err != nil {
		return nil, fmt.Errorf("git hooks: %w", err)
	}
	if s.git, err = findGit(ctx, s.root, s.maxPush); err != nil {
		return nil, err
	}
	if err := errors.Join(audit.Prepare(ctx, s.db), s.db.Migrate(ctx, "git", migrations)); err != nil {
		return nil, err
	}
	if s.secrets == nil {
		s.secrets = fileSecrets{filepath.Join(s.root, secretsName)}
	}
	if err := errors.Join(s.loadAliases(ctx), s.loadMirrors(ctx)); err != nil {
		return nil, err
	}
	if err := s.recover(ctx); err != nil {
		return nil, fmt.Errorf("recover git repositories: %w", err)
	}
	return s, nil
}

func orDefault[T int | int64 | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// Run keeps the repositories in shape until ctx ends: it records pushes whose
// recording failed, packs what has grown and fetches mirrors. It returns ctx's error.
func (s *Server) Run(ctx context.Context) error {
	var loops sync.WaitGroup
	defer loops.Wait()
	loops.Go(func() { s.maintainLoop(ctx) })
	loops.Go(func() { s.mirrorLoop(ctx) })
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
