package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// recover brings root and store together after any end of the last process.
func (s *Server) recover(ctx context.Context) error {
	found, err := s.sweep()
	if err != nil {
		return err
	}
	recorded, err := s.recorded(ctx)
	if err != nil {
		return err
	}
	for name := range recorded {
		if !s.exists(name) {
			s.log.Warn("repository is gone, forgetting it", "repo", name)
			if err := s.forget(ctx, name); err != nil {
				return err
			}
		}
	}
	for _, name := range found {
		if !recorded[name] {
			// Created but not recorded, or put here by hand: nothing was
			// pushed through us.
			if err := s.adopt(ctx, name, nil); err != nil {
				return err
			}
		}
		s.mu.Lock()
		s.unsettled[name] = struct{}{}
		s.suspects[name] = struct{}{}
		s.mu.Unlock()
	}
	s.settleRest(ctx)
	return ctx.Err()
}

// sweep removes what a crash left half-made or half-deleted and returns the
// names of the repositories.
func (s *Server) sweep() ([]string, error) {
	owners, err := os.ReadDir(s.root)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, o := range owners {
		if leftover(o.Name()) {
			if err := os.RemoveAll(filepath.Join(s.root, o.Name())); err != nil {
				return nil, err
			}
			continue
		}
		if !o.IsDir() || strings.HasPrefix(o.Name(), ".") {
			continue
		}
		repos, err := os.ReadDir(filepath.Join(s.root, o.Name()))
		if err != nil {
			return nil, err
		}
		for _, r := range repos {
			base, ok := strings.CutSuffix(r.Name(), ".git")
			name := o.Name() + "/" + base
			if !ok || !r.IsDir() || CheckName(name) != nil {
				s.log.Warn("ignoring what is not a repository", "path", filepath.Join(s.root, o.Name(), r.Name()))
				continue
			}
			names = append(names, name)
		}
	}
	return names, nil
}

// leftover says whether what has this name under the root belongs to work that
// did not end.
func leftover(name string) bool {
	return strings.HasPrefix(name, makingPrefix) || strings.HasPrefix(name, trashPrefix) || strings.HasPrefix(name, pushPrefix)
}

// settleRest records the repositories whose refs may differ from the record.
// Those that cannot be recorded now stay listed for the next time.
func (s *Server) settleRest(ctx context.Context) {
	s.mu.Lock()
	var names []string
	for n := range s.unsettled {
		names = append(names, n)
	}
	s.mu.Unlock()
	for _, name := range names {
		err := s.settleLate(ctx, name)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.log.Error("pushes are not recorded, trying again", "repo", name, "error", err)
			continue
		}
		s.mu.Lock()
		delete(s.unsettled, name)
		s.mu.Unlock()
	}
}

// orphanWait bounds how long a start waits for the git processes of its
// predecessor. They end when their input does, which was the predecessor.
const orphanWait = 2 * time.Second

func (s *Server) settleLate(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	unlock, err := s.lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	if !s.exists(name) {
		return nil
	}
	s.mu.Lock()
	_, suspect := s.suspects[name]
	s.mu.Unlock()
	if !suspect {
		return s.settle(ctx, name, "")
	}
	// A git of our predecessor can still move refs: what is recorded now may
	// not be all, so this repository's turn comes again.
	clearErr := s.clearSuspect(ctx, name)
	return errors.Join(clearErr, s.settle(ctx, name, ""))
}

// clearSuspect waits for the predecessor's git processes and removes what
// those that were killed have left.
func (s *Server) clearSuspect(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, orphanWait)
	defer cancel()
	release, err := s.exclusive(ctx, name)
	if err != nil {
		return err
	}
	defer release()
	if err := removeStaleLocks(s.dir(name)); err != nil {
		return fmt.Errorf("remove stale locks of %s: %w", name, err)
	}
	s.mu.Lock()
	delete(s.suspects, name)
	s.mu.Unlock()
	return nil
}

// inUse is the file in a repository on which every git process that can change
// refs holds a shared lock, also when it has outlived us.
const inUse = "penstock.lock"

func (s *Server) openInUse(name string) (*os.File, error) {
	return os.OpenFile(filepath.Join(s.dir(name), inUse), os.O_RDWR|os.O_CREATE, 0o600)
}

// exclusive waits until no git process of this or an earlier server works in
// the repository, and keeps new ones out until release.
func (s *Server) exclusive(ctx context.Context, name string) (release func(), err error) {
	f, err := s.openInUse(name)
	if err != nil {
		return nil, err
	}
	for {
		ok, err := tryLock(f, true)
		if err != nil {
			f.Close()
			return nil, err
		}
		if ok {
			return func() { f.Close() }, nil
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("%s: %w: a git process is still at work", name, errBusy)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// shared marks the repository as in use by whoever inherits the file.
func (s *Server) shared(ctx context.Context, name string) (*os.File, error) {
	f, err := s.openInUse(name)
	if err != nil {
		return nil, err
	}
	for {
		ok, err := tryLock(f, false)
		if ok && err == nil {
			return f, nil
		}
		if err != nil {
			f.Close()
			return nil, err
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("%s: %w", name, errBusy)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// removeStaleLocks removes the lock files and unfinished packs of git
// processes that were killed. No git process may be at work in dir.
func removeStaleLocks(dir string) error {
	var errs []error
	for _, name := range []string{"HEAD.lock", "packed-refs.lock", "packed-refs.new", "config.lock", "shallow.lock", "gc.pid", "gc.pid.lock"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	for _, sub := range []string{"refs", "logs"} {
		errs = append(errs, filepath.WalkDir(filepath.Join(dir, sub), func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".lock") { // no ref may end so
				return err
			}
			return os.Remove(path)
		}))
	}
	for _, pattern := range []string{"objects/tmp_objdir-*", "objects/incoming-*", "objects/pack/tmp_*", "objects/pack/.tmp-*"} {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		errs = append(errs, err)
		for _, p := range paths {
			errs = append(errs, os.RemoveAll(p))
		}
	}
	return errors.Join(errs...)
}
