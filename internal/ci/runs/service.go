package runs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/penstock-dev/penstock/internal/base/bus"
	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/ci/jobdir"
	"github.com/penstock-dev/penstock/internal/host/blob"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// Source reads hosted repositories at a commit.
type Source interface {
	// ListFiles returns the names of the files directly in dir, none when
	// there is no such directory.
	ListFiles(ctx context.Context, repo, commit, dir string) ([]string, error)
	ReadFile(ctx context.Context, repo, commit, name string) ([]byte, error)
	Commit(ctx context.Context, repo, commit string) (Commit, error)
	DefaultBranch(ctx context.Context, repo string) (string, error)
	// ChangedPaths between two commits. An error that wraps
	// problem.ErrNotFound says that they cannot be compared.
	ChangedPaths(ctx context.Context, repo, before, after string) ([]string, error)
}

// Commit is what events tell of a commit.
type Commit struct {
	Hash              string // of the commit, also when it was asked for by an annotated tag
	Message           string
	Tree              string
	Author, Committer Person
	At                time.Time // of the commit, not of the change
}

// Person is an author or committer.
type Person struct{ Name, Email string }

// Scope is what a job's token opens: repositories of Git and of images, as
// "owner/name" or "owner/*". Writing includes reading.
type Scope struct {
	Read, Write             []string
	ReadImages, WriteImages []string
}

// Tokens issues what a job uses against our own services.
type Tokens interface {
	// IssueJob returns a token for a job that opens scope until it is revoked,
	// at most for life.
	IssueJob(ctx context.Context, run int64, job string, scope Scope, life time.Duration) (string, error)
	RevokeJob(ctx context.Context, run int64, job string) error
}

// Runner starts the runner of a job as a process that outlives this one.
type Runner interface {
	// Start starts it. It inherits lock, which is the caller's to close. wait
	// returns when the process has ended.
	Start(dir jobdir.Dir, lock *os.File) (wait func(), err error)
}

// Options of a Service. All fields without a default are required.
type Options struct {
	DB     *store.DB
	Dir    string // where the directories of jobs are: D/ci/jobs
	Source Source
	Tokens Tokens
	Runner Runner
	// Pushes wakes the service; what counts is the event log.
	Pushes *bus.Topic[event.Push]
	// Finished is told of runs that ended; may be nil.
	Finished  *bus.Topic[event.RunFinished]
	ServerURL string     // "http://penstock.localhost:7080"
	MaxJobs   int        // jobs at the same time, default 2
	Blobs     blob.Store // where logs and summaries of jobs that have ended are kept
	// KeepDirs is how long the directory of a job stays after that, default
	// one hour.
	KeepDirs time.Duration
	// IsJob tells whether who pushed was a CI job with its own token. Such
	// pushes start no runs, or runs could start each other for ever. May be
	// nil.
	IsJob func(actor string) bool
	// Tracing says that the traces of runs are sent somewhere: then steps
	// learn which span is theirs, to add to it.
	Tracing bool
	// Changed is told of every run that is not what it was, once that is
	// recorded; it must not wait. May be nil.
	Changed func(run int64)
	// Sweep removes what dead runners left on the machine; may be nil.
	Sweep func(ctx context.Context) error
	Now   func() time.Time // default time.Now
	Log   *slog.Logger
}

// Service is the room. Make it with [New].
type Service struct {
	Options
	wake     chan struct{} // something may have to be done
	sealable chan struct{} // a job's logs may have to be sealed
	mu       sync.Mutex
	running  map[int64]bool // jobs watched, by id
	watch    sync.WaitGroup
	failing  struct { // the push that cannot be read; used by Run only
		seq   int64
		since time.Time
	}
}

// New prepares the tables and directories.
func New(ctx context.Context, o Options) (*Service, error) {
	if o.MaxJobs == 0 {
		o.MaxJobs = 2
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.KeepDirs == 0 {
		o.KeepDirs = defaultKeepDirs
	}
	if err := o.DB.Migrate(ctx, "ci", migrations); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("create directory of jobs: %w", err)
	}
	abs, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	o.Dir = abs
	return &Service{Options: o, wake: make(chan struct{}, 1), sealable: make(chan struct{}, 1), running: map[int64]bool{}}, nil
}

// retry is how long the service waits after a failure of the store or of git.
const retry = time.Second

// Run works until ctx ends. Jobs go on then: their runners do not need us.
func (s *Service) Run(ctx context.Context) error {
	defer s.watch.Wait()
	sub := s.Pushes.Subscribe(1)
	defer sub.Close()
	if err := s.attach(ctx); err != nil {
		return fmt.Errorf("find running jobs: %w", err)
	}
	s.watch.Go(func() { s.seal(ctx) })
	for {
		if err := s.step(ctx); err != nil && ctx.Err() == nil {
			s.Log.Error("cannot carry runs on", "error", err)
			s.after(retry)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-sub.C:
		case <-s.wake:
		}
	}
}

// step takes in new pushes and advances every run that is not over.
func (s *Service) step(ctx context.Context) error {
	return errors.Join(s.takePushes(ctx), s.advanceAll(ctx))
}

// write changes one run in a transaction, and says so when it is done.
func (s *Service) write(ctx context.Context, run int64, fn func(tx store.Tx) error) error {
	err := s.DB.Write(ctx, fn)
	if err == nil {
		s.changed(run)
	}
	return err
}

func (s *Service) changed(run int64) {
	if s.Changed != nil {
		s.Changed(run)
	}
}

// poke makes Run look again.
func (s *Service) poke() { ring(s.wake) }

// ring wakes who waits on the bell, now or when it waits next.
func ring(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

func (s *Service) after(d time.Duration) { time.AfterFunc(d, s.poke) }

// dir is the directory of a job.
func (s *Service) dir(run int64, key string) jobdir.Dir {
	return jobdir.Dir(filepath.Join(s.Dir, jobName(run, key)))
}

func jobName(run int64, key string) string { return fmt.Sprintf("%d-%s", run, key) }
