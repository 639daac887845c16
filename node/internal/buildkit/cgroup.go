//go:build linux

package buildkit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// stepOOMScore makes the kernel choose a RUN step before anything else of the
// node when memory runs out.
const stepOOMScore = 500

// Limits of all RUN steps of a builder together.
const (
	stepPids       = 8192
	stepMemoryPart = 0.75 // of the machine's memory
)

// cgroupParent is the control group of all RUN steps. Its name is that of the
// root, so that builders side by side have one each.
func cgroupParent(o Options) string {
	sum := sha256.Sum256([]byte(o.Root))
	return "/penstock-build-" + hex.EncodeToString(sum[:4])
}

// cgroupDirs lists where the group is mounted: once with cgroup v2, else in
// every hierarchy.
func cgroupDirs(o Options) []string {
	var dirs []string
	for _, pattern := range []string{"/sys/fs/cgroup" + cgroupParent(o), "/sys/fs/cgroup/*" + cgroupParent(o)} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			continue // the patterns are constant
		}
		dirs = append(dirs, found...)
	}
	return dirs
}

// limitSteps makes the group and bounds it, so that a fork bomb or a leak in a
// Dockerfile stays in there.
func limitSteps(o Options) error {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return fmt.Errorf("read memory size: %w", err)
	}
	memory := strconv.FormatInt(int64(stepMemoryPart*float64(info.Totalram)*float64(info.Unit)), 10)
	pids := strconv.Itoa(stepPids)
	v2, err := isCgroup2("/sys/fs/cgroup")
	if err != nil {
		return err
	}
	settings := map[string]string{
		"/sys/fs/cgroup/pids" + cgroupParent(o) + "/pids.max":                pids,
		"/sys/fs/cgroup/memory" + cgroupParent(o) + "/memory.limit_in_bytes": memory,
	}
	if v2 {
		if err := delegate("/sys/fs/cgroup"); err != nil {
			return err
		}
		settings = map[string]string{
			"/sys/fs/cgroup" + cgroupParent(o) + "/pids.max":   pids,
			"/sys/fs/cgroup" + cgroupParent(o) + "/memory.max": memory,
		}
	}
	for file, value := range settings {
		hierarchy := filepath.Dir(filepath.Dir(file))
		if _, err := os.Stat(hierarchy); errors.Is(err, os.ErrNotExist) {
			o.Log.Warn("build steps are not limited: the machine has no such controller", "hierarchy", hierarchy)
			continue
		}
		if err := os.Mkdir(filepath.Dir(file), 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("make control group of build steps: %w", err)
		}
		if err := os.WriteFile(file, []byte(value), 0); err != nil {
			return fmt.Errorf("limit build steps: %w", err)
		}
	}
	return nil
}

func isCgroup2(dir string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return false, fmt.Errorf("look at control groups: %w", err)
	}
	return st.Type == unix.CGROUP2_SUPER_MAGIC, nil
}

// delegate lets children of the v2 root have the controllers that are limited.
func delegate(root string) error {
	have, err := os.ReadFile(filepath.Join(root, "cgroup.subtree_control"))
	if err != nil {
		return fmt.Errorf("read control group controllers: %w", err)
	}
	for _, c := range []string{"memory", "pids"} {
		if strings.Contains(" "+strings.TrimSpace(string(have))+" ", " "+c+" ") {
			continue
		}
		if err := os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+"+c), 0); err != nil {
			return fmt.Errorf("enable control group controller %s: %w", c, err)
		}
	}
	return nil
}

// cleanCgroups ends what is left in the groups of RUN steps and removes them,
// in every hierarchy. What runc had just begun when it was killed is in no
// list of runc's; it is in here.
func cleanCgroups(ctx context.Context, o Options) error {
	var errs []error
	for _, d := range cgroupDirs(o) {
		errs = append(errs, removeCgroup(ctx, d))
	}
	return errors.Join(errs...)
}

// removeCgroup removes the group at dir and those in it.
func removeCgroup(ctx context.Context, dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list control group: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeCgroup(ctx, filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	for tries := 0; ; tries++ {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || tries == 200 {
			return fmt.Errorf("remove control group %s: %w", dir, err)
		}
		if err := killCgroup(dir); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove control group %s: %w", dir, ctx.Err())
		case <-time.After(10 * time.Millisecond): // the kernel removes the dead
		}
	}
}

// killCgroup kills the processes that are in the group itself.
func killCgroup(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("list processes of control group: %w", err)
	}
	for _, f := range strings.Fields(string(b)) {
		pid, err := strconv.Atoi(f)
		if err != nil || pid <= 1 {
			continue // 0 is a process of another namespace
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("kill process %d of a build step: %w", pid, err)
		}
	}
	return nil
}
