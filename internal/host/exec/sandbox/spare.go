//go:build linux

package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/penstock-dev/penstock/internal/base/id"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/exec"
)

// A spare is a sandbox that was opened before anybody asked for it: it lacks
// what a session brings along (name, workspace, mounts, forwards), which is
// added when it is taken over. That costs a few milliseconds; a sandbox from
// nothing costs ten times as much. No command has ever run in a spare, so
// nothing in it is to be distrusted.

// Warm opens a spare for the next Open, unless there is one. Open uses it where
// it can and otherwise begins from nothing, so it is only a matter of speed.
func (r *Runtime) Warm(ctx context.Context) error {
	r.mu.Lock()
	have := r.spare != nil
	r.mu.Unlock()
	if have {
		return nil
	}
	s, err := r.begin(ctx, exec.SessionSpec{ID: "spare-" + id.New()}, nil)
	if err == nil {
		// Most directories of a job belong to us; what is asked for here is kept.
		_, err = r.ids.get(ownerMap(s.fs.base, os.Geteuid(), os.Getegid(), s.user))
	}
	if err != nil {
		if s != nil {
			err = errors.Join(err, s.Close())
		}
		return &problem.Error{Op: "open a spare sandbox", Err: err, Hint: "penstock doctor"}
	}
	r.mu.Lock()
	s, r.spare = r.spare, s
	r.mu.Unlock()
	if s != nil { // somebody else did the same
		return s.Close()
	}
	return nil
}

func (r *Runtime) takeSpare() *session {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.spare
	r.spare = nil
	return s
}

// takeOver makes the spare the session that spec asks for. It returns nil where
// there is none that fits.
func (r *Runtime) takeOver(ctx context.Context, spec exec.SessionSpec) (*session, error) {
	s := r.takeSpare()
	if s == nil {
		return nil, nil
	}
	err := s.fits(spec)
	if err == nil {
		if err = s.become(ctx, spec); err == nil {
			return s, nil
		}
	}
	r.unused.Go(func() {
		if err := s.Close(); err != nil {
			r.log.Warn("close unused sandbox", "error", err)
		}
	})
	if ctx.Err() != nil || errors.Is(err, problem.ErrExists) {
		return nil, err
	}
	// Whatever it is, a sandbox from nothing shows whether it is more than that.
	r.log.Debug("spare sandbox not used", "session", spec.ID, "reason", err)
	return nil, nil
}

// fits says why the spare cannot become the session, nil if it can.
func (s *session) fits(spec exec.SessionSpec) error {
	if spec.Limits != (exec.Limits{}) {
		return errors.New("the session has limits of its own")
	}
	if spec.Network != "" {
		return errors.New("the session is in a private network")
	}
	if slices.ContainsFunc(spec.Mounts, func(m exec.Mount) bool { return m.ReadOnly }) {
		// Mounts that are there from the beginning are locked by the kernel: not
		// even a root with all capabilities inside could make them writable.
		return errors.New("the session has mounts for reading only")
	}
	s.mu.Lock()
	lost := s.lost
	s.mu.Unlock()
	if lost {
		return errGone
	}
	// What of the host is private may have changed since the spare was made.
	now, err := s.r.planned()
	if err != nil {
		return err
	}
	if !now.same(s.layer) {
		return errors.New("the host has other private files now")
	}
	return nil
}

// same says whether both plans show the same of the host.
func (p plan) same(q plan) bool {
	p.Made = q.Made
	a, aerr := json.Marshal(p)
	b, berr := json.Marshal(q)
	return aerr == nil && berr == nil && string(a) == string(b)
}

// become adds what the session brings along.
func (s *session) become(ctx context.Context, spec exec.SessionSpec) error {
	if err := s.rename(ctx, spec); err != nil {
		return err
	}
	ns, err := netns.GetFromPid(s.pid)
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer ns.Close()
	if err := inNetwork(ns, s.forward); err != nil {
		return err
	}
	var mounts []detachedMount
	defer func() {
		for _, m := range mounts {
			unix.Close(m.fd)
		}
	}()
	for _, m := range mountsOf(spec) {
		d, err := s.fs.detach(m)
		if err != nil {
			return fmt.Errorf("mount %s at %s: %w", m.Source, m.Target, err)
		}
		mounts = append(mounts, d)
	}
	files := s.files()
	return s.enter(func() error {
		if err := unix.Sethostname([]byte(s.hostname())); err != nil {
			return fmt.Errorf("set host name: %w", err)
		}
		for p, content := range files {
			// It is there, with its owner: the spare has one, too.
			if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
				return err
			}
		}
		root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(root)
		for _, m := range mounts {
			if err := s.fs.attach(m.fd, root, m.target, m.dir); err != nil {
				return fmt.Errorf("mount at %s: %w", m.target, err)
			}
		}
		return nil
	})
}

// rename gives the spare the name of the session, after removing what a crash
// left under it.
func (s *session) rename(ctx context.Context, spec exec.SessionSpec) error {
	bundle := filepath.Join(s.r.runDir, spec.ID)
	err := withMachineLock(ctx, func() (err error) {
		s.name, err = lockFile(bundle + ".lock")
		return err
	})
	if errors.Is(err, errLocked) {
		return fmt.Errorf("session %w", problem.ErrExists)
	}
	if err != nil {
		return err
	}
	if err := removeTraces(ctx, bundle, filepath.Join(s.r.o.Dir, scratchPrefix+spec.ID)); err != nil {
		return fmt.Errorf("remove what a crash left behind: %w", err)
	}
	s.spec, s.log = spec, s.r.log.With("session", spec.ID)
	return nil
}

// enter runs f on a thread in the sandbox's mount and host name namespaces.
func (s *session) enter(f func() error) error {
	return onOwnThread(func() error {
		pidfd, err := unix.PidfdOpen(s.pid, 0)
		if err != nil {
			return fmt.Errorf("open sandbox: %w", err)
		}
		defer unix.Close(pidfd)
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("leave shared working directory: %w", err)
		}
		if err := unix.Setns(pidfd, unix.CLONE_NEWNS|unix.CLONE_NEWUTS); err != nil {
			return fmt.Errorf("enter sandbox: %w", err)
		}
		return f()
	})
}
