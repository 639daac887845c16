//go:build linux

package buildkit

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

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
