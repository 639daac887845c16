//go:build linux

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/penstock-dev/penstock/internal/host/exec/cgtree"
)

// Sweep removes the sessions of this runtime's directory whose owner is gone,
// and says how many they were.
func (r *Runtime) Sweep(ctx context.Context) (int, error) {
	ids := map[string]bool{}
	for pattern, cut := range map[string]string{
		filepath.Join(r.runDir, "*.lock"):   ".lock",
		filepath.Join(r.o.Dir, "session-*"): "",
	} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			return 0, err
		}
		for _, n := range names {
			ids[strings.TrimPrefix(strings.TrimSuffix(filepath.Base(n), cut), "session-")] = true
		}
	}
	var errs []error
	swept := 0
	for id := range ids {
		lock, err := lockFile(filepath.Join(r.runDir, id+".lock"))
		if errors.Is(err, errLocked) {
			continue // it lives
		}
		if err == nil {
			err = r.removeSession(ctx, id)
			if err == nil {
				err = os.Remove(lock.Name())
				swept++
			}
			lock.Close()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("remove session %s: %w", id, err))
		}
	}
	return swept, errors.Join(errs...)
}

// removeSession ends what runs in the session and removes its traces. The
// caller holds the lock on the id. What does not exist is fine.
//
// The mounts and the interface need no care: they belong to namespaces that go
// with the last process.
func (r *Runtime) removeSession(ctx context.Context, id string) error {
	name := r.containerName(id)
	var errs []error
	if root, err := cgtree.Root(); err == nil {
		errs = append(errs, cgtree.Group(filepath.Join(root, "penstock-ci", name)).Remove(ctx))
	}
	errs = append(errs,
		removeControllers(name),
		os.RemoveAll(filepath.Join(r.runcState(), name)),
		os.RemoveAll(filepath.Join(r.runDir, id)),
		os.RemoveAll(filepath.Join(r.o.Dir, "session-"+id)),
	)
	return errors.Join(errs...)
}

// removeControllers removes the container's group from the version 1
// hierarchies that runc put it in.
func removeControllers(name string) error {
	dirs, err := filepath.Glob(filepath.Join("/sys/fs/cgroup/*/penstock-ci", name))
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range dirs {
		errs = append(errs, cgtree.RemoveDirs(d))
	}
	return errors.Join(errs...)
}

// removeUnused removes what all sandboxes of the machine share, if there is
// none left: the firewall rules, the parent groups and the directories.
func removeUnused(ctx context.Context, subnet netip.Prefix, runDir string) error {
	for _, d := range []string{filepath.Join(runDir, "runc"), runDir} {
		if err := os.Remove(d); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil // sessions of another process with the same directory
		}
	}
	// All slots, so that nobody begins a session meanwhile.
	var held []slot
	defer func() {
		for _, s := range held {
			s.release()
		}
	}()
	for len(held) < lastSlot-firstSlot+1 {
		s, err := takeSlot(filepath.Join(machineDir, "slots"))
		if err != nil {
			return nil // in use
		}
		held = append(held, s)
		if s.n != firstSlot+len(held)-1 {
			return nil // the one before is in use
		}
	}
	var errs []error
	errs = append(errs, clearRules(ctx, subnet))
	parents, err := filepath.Glob("/sys/fs/cgroup/*/penstock-ci")
	errs = append(errs, err)
	for _, p := range append(parents, "/sys/fs/cgroup/penstock-ci") {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	errs = append(errs, os.RemoveAll(filepath.Join(machineDir, "slots")))
	if err := os.Remove(machineDir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		// Another runtime's directory, without sessions: it stays.
		return errors.Join(errs...)
	}
	return errors.Join(errs...)
}
