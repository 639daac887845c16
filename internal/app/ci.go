package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/base/bus"
	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/ci/runs"
	"github.com/penstock-dev/penstock/internal/host/blob"
	"github.com/penstock-dev/penstock/internal/host/exec/sandbox"
	"github.com/penstock-dev/penstock/internal/host/git"
	"github.com/penstock-dev/penstock/internal/host/identity"
	"github.com/penstock-dev/penstock/internal/host/machine"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// ciOptions are what the CI room is made of.
type ciOptions struct {
	machine *machine.Machine
	listen  string // of the server
	url     string // of the server, as jobs see it
	runtime string // see parseRuntime
	db      *store.DB
	blobs   blob.Store
	git     *git.Server
	keeper  *identity.Keeper
	pushes  *bus.Topic[event.Push]
	// finished is told of runs that ended.
	finished *bus.Topic[event.RunFinished]
	tracing  bool // steps find the id of their span in TRACEPARENT
	log      *slog.Logger
	changed  func(run int64)
}

// newCI makes the CI room.
func newCI(ctx context.Context, o ciOptions) (*runs.Service, *runs.StandbyRunner, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, fmt.Errorf("find own program: %w", err)
	}
	args := []string{"runner", "--data-dir", o.machine.DataDir(), "--server-listen", o.listen, "--runtime", o.runtime}
	if o.log.Enabled(ctx, slog.LevelDebug) {
		args = append(args, "-v")
	}
	standby := runs.NewStandbyRunner(runs.ProcessRunner{Program: self, Args: args, Env: withoutOTel(os.Environ())}, o.log)
	opt := runs.Options{
		DB: o.db, Blobs: o.blobs, Dir: jobsDir(o.machine.DataDir()), Source: ciSource{o.git}, Tokens: ciTokens{o.keeper}, Pushes: o.pushes, Finished: o.finished, Tracing: o.tracing,
		Runner: standby, ServerURL: o.url, MaxJobs: max(2, runtime.NumCPU()), Log: o.log,
		Changed: o.changed,
		IsJob:   func(actor string) bool { return strings.HasPrefix(actor, "run/") }, // identity.Job's name
	}
	if o.runtime != "process" {
		opt.Sweep = func(ctx context.Context) error { return sweep(ctx, o.machine.DataDir(), o.log) }
		standby.Sweep = opt.Sweep
	}
	ci, err := runs.New(ctx, opt)
	return ci, standby, err
}

// withoutOTel keeps from jobs where our traces go, which may hold a key to that
// place.
func withoutOTel(env []string) []string {
	return slices.DeleteFunc(env, func(kv string) bool { return strings.HasPrefix(kv, "OTEL_") })
}

func jobsDir(dataDir string) string { return filepath.Join(dataDir, "ci", "jobs") }

// defaultRuntime is sandbox for root; others cannot have one.
func defaultRuntime() string {
	if os.Geteuid() == 0 {
		return "sandbox"
	}
	return "process"
}

// sweep removes the sandboxes that dead runners left, and images that no job
// has used for long.
func sweep(ctx context.Context, dataDir string, log *slog.Logger) error {
	r, err := newSandbox(dataDir, log)
	if err != nil {
		return err
	}
	n, err := r.Sweep(ctx)
	if n > 0 {
		log.Info("removed sandboxes of runners that died", "count", n)
	}
	return errors.Join(err, r.Close(), pruneImages(ctx, dataDir, log))
}

func newSandbox(dataDir string, log *slog.Logger) (*sandbox.Runtime, error) {
	return sandbox.New(sandbox.Options{Dir: filepath.Join(dataDir, "ci", "sandboxes"), Hide: []string{dataDir}, Log: log})
}

// stopJobs ends the CI jobs that run under dataDir and removes what they left.
func stopJobs(ctx context.Context, dataDir string) error {
	err := runs.StopAll(ctx, jobsDir(dataDir))
	if _, serr := os.Stat(filepath.Join(dataDir, "ci", "sandboxes")); serr == nil {
		err = errors.Join(err, sweep(ctx, dataDir, slog.New(slog.DiscardHandler)))
	}
	return err
}

// ciSource reads hosted repositories for CI.
type ciSource struct{ git *git.Server }

func (s ciSource) ListFiles(ctx context.Context, repo, commit, dir string) ([]string, error) {
	if _, err := s.git.Commit(ctx, repo, commit); err != nil {
		return nil, err // a commit that is gone, rather than a directory
	}
	entries, err := s.git.ListTree(ctx, repo, commit, dir)
	if errors.Is(err, problem.ErrNotFound) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if e.IsFile() {
			names = append(names, path.Base(e.Path))
		}
	}
	return names, err
}

func (s ciSource) ReadFile(ctx context.Context, repo, commit, name string) ([]byte, error) {
	return s.git.ReadFile(ctx, repo, commit, name)
}

func (s ciSource) Commit(ctx context.Context, repo, commit string) (runs.Commit, error) {
	c, err := s.git.Commit(ctx, repo, commit)
	return runs.Commit{Hash: c.Hash, Message: c.Message, Tree: c.Tree, Author: runs.Person(c.Author), Committer: runs.Person(c.Committer), At: c.CommitAt}, err
}

func (s ciSource) DefaultBranch(ctx context.Context, repo string) (string, error) {
	r, err := s.git.Get(ctx, repo)
	return r.DefaultBranch, err
}

// ChangedPaths says that commits cannot be compared when the older one is not
// there, where git itself lists everything.
func (s ciSource) ChangedPaths(ctx context.Context, repo, before, after string) ([]string, error) {
	if _, err := s.git.Commit(ctx, repo, before); err != nil {
		return nil, err
	}
	return s.git.ChangedPaths(ctx, repo, before, after)
}

// ciTokens issues the tokens of jobs.
type ciTokens struct{ keeper *identity.Keeper }

func (t ciTokens) IssueJob(ctx context.Context, run int64, job string, scope runs.Scope, life time.Duration) (string, error) {
	return t.keeper.Issue(ctx, identity.Job{Run: run, Job: job}, identity.Scope(scope), life)
}

func (t ciTokens) RevokeJob(ctx context.Context, run int64, job string) error {
	return t.keeper.Revoke(ctx, identity.Job{Run: run, Job: job})
}
