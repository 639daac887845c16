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
	"slices"
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
	// After a restart of the machine, /run knows nothing of what is on the disk.
	entries, err := os.ReadDir(r.o.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	for _, e := range entries {
		id, ok := strings.CutPrefix(e.Name(), scratchPrefix)
		if lock := filepath.Join(r.runDir, id+".lock"); ok && !slices.Contains(locks, lock) {
			locks = append(locks, lock)
		}
	}
	var errs []error
	swept := 0
	for _, name := range locks {
		done, err := r.sweep(ctx, name)
		if done {
			swept++
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("remove session %s: %w", name, err))
		}
	}
	errs = append(errs, removeUnused(ctx, r.firewall.own))
	return swept, errors.Join(errs...)
}

// sweep removes the session with this lock unless it lives.
func (r *Runtime) sweep(ctx context.Context, name string) (done bool, err error) {
	var lock *os.File
	err = withMachineLock(ctx, func() (err error) {
		if err := os.MkdirAll(filepath.Dir(name), 0o711); err != nil {
			return err
		}
		lock, err = lockFile(name)
		return err
	})
	if errors.Is(err, errLocked) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer lock.Close()
	bundle := strings.TrimSuffix(name, ".lock")
	scratch := lockedScratch(lock)
	if scratch == "" && filepath.Dir(name) == r.runDir {
		scratch = filepath.Join(r.o.Dir, scratchPrefix+filepath.Base(bundle))
	}
	if err := removeTraces(ctx, bundle, scratch); err != nil {
		return false, err
	}
	return true, os.Remove(name)
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
		locks, err := filepath.Glob(filepath.Join(machineDir, "*", "*.lock"))
		if err != nil || len(locks) > 0 {
			return err // there are sessions
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
		return errors.Join(append(errs, os.RemoveAll(machineDir))...)
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
