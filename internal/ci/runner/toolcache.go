package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// maxToolCache is how much a repository's tool cache may hold when a job
// ends; beyond it, what has not been used for longest goes.
const maxToolCache = 4 << 30

// toolCache makes the directory that RUNNER_TOOL_CACHE names: as on a
// self-hosted runner of GitHub's it outlives the job, so that tools and build
// caches need not begin from nothing. Every repository has its own, because
// whoever can write to it can change what later jobs run.
func toolCache(root, repo string) (string, error) {
	dir := filepath.Join(root, filepath.FromSlash(repo))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make tool cache: %w", err)
	}
	return dir, nil
}

type cached struct {
	path string
	size int64
	used time.Time
}

// pruneToolCache removes the files below dir that were changed longest ago
// until at most limit bytes are left. Other jobs may be using the cache: what
// they remove meanwhile is no error, and they must cope with missing files as
// with any cache. Nothing outside dir is touched, whatever links they make.
func pruneToolCache(dir string, limit int64) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("prune tool cache: %w", err)
	}
	defer root.Close()
	files, total := cachedFiles(root.FS())
	slices.SortFunc(files, func(a, b cached) int { return a.used.Compare(b.used) })
	for _, f := range files {
		if total <= limit {
			break
		}
		if err := root.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("prune tool cache: %w", err)
		}
		total -= f.size
	}
	return nil
}

// cachedFiles lists the regular files. What cannot be looked at is gone, or
// not to be judged by us.
func cachedFiles(tree fs.FS) (files []cached, total int64) {
	_ = fs.WalkDir(tree, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if d != nil && d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		if fi, err := d.Info(); err == nil {
			files = append(files, cached{path, fi.Size(), fi.ModTime()})
			total += fi.Size()
		}
		return nil
	})
	return files, total
}
