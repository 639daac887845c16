//go:build linux

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/penstock-dev/penstock/internal/host/exec/cgtree"
)

// Sweep removes every session of the machine whose owner is gone, and says how
// many they were. If then no session is left, what they shared goes too.
func (r *Runtime) Sweep(ctx context.Context) (int, error) {
	locks, err := filepath.Glob(filepath.Join(machineDir, "*", "*.lock"))
	if err != nil {
		return 0, err
	}
	var errs []error
	swept := 0
	for _, name := range locks {
		lock, err := lockFile(name)
		if errors.Is(err, errLocked) {
			continue // it lives
		}
		if err == nil {
			err = removeTraces(ctx, strings.TrimSuffix(name, ".lock"), lockedScratch(lock))
			if err == nil {
				err = os.Remove(name)
				swept++
			}
			lock.Close()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("remove session %s: %w", name, err))
		}
	}
	errs = append(errs, removeUnused(ctx, r.firewall.own))
	return swept, errors.Join(errs...)
}

// lockedScratch reads from a session's lock where its scratch directory is.
// Only root can have written it.
func lockedScratch(lock *os.File) string {
	data, err := io.ReadAll(io.LimitReader(lock, 4<<10))
	if err != nil || !strings.HasPrefix(filepath.Base(string(data)), scratchPrefix) {
		return ""
	}
	return string(data)
}

// removeTraces ends what runs in the session with this bundle and removes its
// traces. The caller holds the session's lock. What does not exist is fine.
//
// The mounts and the interface need no care: they belong to namespaces that go
// with the last process.
func removeTraces(ctx context.Context, bundle, scratch string) error {
	runDir, id := filepath.Split(bundle)
	name := containerName(runDir, id)
	var errs []error
	if root, err := cgtree.Root(); err == nil {
		errs = append(errs, cgtree.Group(filepath.Join(root, "penstock-ci", name)).Remove(ctx))
	}
	errs = append(errs,
		removeControllers(name),
		os.RemoveAll(filepath.Join(runcState(runDir), name)),
		os.RemoveAll(bundle),
	)
	if scratch != "" {
		errs = append(errs, os.RemoveAll(scratch))
	}
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
func removeUnused(ctx context.Context, own networks) error {
	return withMachineLock(ctx, func() error {
		dirs, err := filepath.Glob(filepath.Join(machineDir, "*", "runc"))
		if err != nil {
			return err
		}
		for _, d := range dirs {
			if os.Remove(d) != nil {
				continue // there are sessions
			}
			plans, err := filepath.Glob(filepath.Join(filepath.Dir(d), "plan-*"))
			if err != nil {
				return err
			}
			for _, p := range plans {
				_ = os.Remove(p) // else the directory stays, and that is all
			}
			_ = os.Remove(filepath.Dir(d))
		}
		if used, err := slotsInUse(); used || err != nil {
			return err
		}
		errs := []error{clearRules(ctx, own)}
		parents, err := filepath.Glob("/sys/fs/cgroup/*/penstock-ci")
		errs = append(errs, err)
		for _, p := range append(parents, "/sys/fs/cgroup/penstock-ci") {
			// Busy with what a crash left, which the next Sweep removes.
			if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.EBUSY) {
				errs = append(errs, err)
			}
		}
		errs = append(errs, os.RemoveAll(slotDir))
		// Another runtime's directory, without sessions, may keep it: fine.
		_ = os.Remove(machineDir)
		return errors.Join(errs...)
	})
}

// slotsInUse says whether a sandbox lives anywhere on the machine. The caller
// holds the machine's lock.
func slotsInUse() (bool, error) {
	names, err := filepath.Glob(filepath.Join(slotDir, "*"))
	if err != nil {
		return false, err
	}
	for _, n := range names {
		f, err := lockFile(n)
		if errors.Is(err, errLocked) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		f.Close()
	}
	return false, nil
}
