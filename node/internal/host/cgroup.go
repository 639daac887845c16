package host

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// MakeCgroup creates the cgroup name, "/penstock-…", in every hierarchy, also
// in the ones without controllers: the kubelet looks for it in all.
func MakeCgroup(name string) error {
	mounts, err := cgroupMounts()
	if err != nil {
		return fmt.Errorf("find cgroups: %w", err)
	}
	for _, m := range mounts {
		dir := filepath.Join(m, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("create cgroup: %w", err)
		}
		if filepath.Base(m) != "cpuset" {
			continue
		}
		// A new v1 cpuset is empty and would accept no process.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			b, err := os.ReadFile(filepath.Join(m, file))
			if err != nil {
				return fmt.Errorf("read cpuset: %w", err)
			}
			if err := os.WriteFile(filepath.Join(dir, file), b, 0o644); err != nil {
				return fmt.Errorf("write cpuset: %w", err)
			}
		}
	}
	return nil
}

// cgroupMounts returns all hierarchies that a Pod's cgroup may be in, also the
// named and the unified one of a hybrid machine, where runc makes cgroups too.
func cgroupMounts() ([]string, error) {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []string
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		p := strings.Fields(sc.Text())
		if len(p) > 2 && (p[2] == "cgroup" || p[2] == "cgroup2") && strings.HasPrefix(p[1], "/sys/fs/cgroup") {
			out = append(out, p[1])
		}
	}
	return out, sc.Err()
}

// CgroupProcesses returns the processes below the cgroup name.
func CgroupProcesses(name string) ([]int, error) {
	mounts, err := cgroupMounts()
	if err != nil {
		return nil, err
	}
	seen := map[int]bool{}
	var pids []int
	for _, m := range mounts {
		err := filepath.WalkDir(filepath.Join(m, name), func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
				return nil
			}
			if err != nil || d.Name() != "cgroup.procs" {
				return err
			}
			b, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EOPNOTSUPP) {
				return nil
			}
			if err != nil {
				return err
			}
			for field := range strings.FieldsSeq(string(b)) {
				if pid, err := strconv.Atoi(field); err == nil && pid > 0 && !seen[pid] {
					seen[pid] = true
					pids = append(pids, pid)
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return pids, nil
}

// RemoveCgroup removes the cgroup name and all below it. Its processes must
// have ended; the kernel needs a moment after that, which is waited for.
func RemoveCgroup(name string) error {
	mounts, err := cgroupMounts()
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range mounts {
		var last error
		for range 40 {
			if last = removeTree(filepath.Join(m, name)); last == nil {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if last != nil {
			errs = append(errs, fmt.Errorf("remove cgroup: %w", last))
		}
	}
	return errors.Join(errs...)
}

// removeTree removes a cgroup from its leaves up. Only directories can and
// need to be removed.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%s: %w", dir, err)
	}
	return nil
}
