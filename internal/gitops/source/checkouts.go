// Package source brings the files of repositories to where they are rendered:
// one directory per repository and commit, shared by every Application that
// uses it.
package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/penstock-dev/penstock/internal/base/id"
)

// Git is the part of a Git host that is needed here.
type Git interface {
	// Resolve returns the commit that revision names in the repository:
	// a branch, a tag, HEAD or a commit.
	Resolve(ctx context.Context, repoURL, revision string) (commit string, err error)
	// Export writes the files of commit into dst, an empty directory.
	Export(ctx context.Context, repoURL, commit, dst string) error
}

// Checkouts keeps the files of commits in directories below Base. It is a
// cache: it starts empty, and what nobody used for a while is removed.
type Checkouts struct {
	base string
	git  Git
	keep int
	log  *slog.Logger
	now  func() time.Time

	mu   sync.Mutex
	dirs map[string]*checkout
}

type checkout struct {
	ready chan struct{} // closed when err is set
	err   error
	users int
	used  time.Time
}

// NewCheckouts empties base and keeps up to keep unused directories in it.
func NewCheckouts(base string, git Git, keep int, log *slog.Logger) (*Checkouts, error) {
	if err := os.RemoveAll(base); err != nil {
		return nil, fmt.Errorf("empty the checkouts: %w", err)
	}
	// Render workers run as nobody and start at base; its parent keeps
	// everybody else out.
	if err := os.MkdirAll(filepath.Dir(base), 0o700); err != nil {
		return nil, fmt.Errorf("create the checkouts: %w", err)
	}
	if err := os.Mkdir(base, 0o755); err != nil {
		return nil, fmt.Errorf("create the checkouts: %w", err)
	}
	if err := os.Chmod(base, 0o755); err != nil { // whatever the umask took
		return nil, fmt.Errorf("create the checkouts: %w", err)
	}
	return &Checkouts{base: base, git: git, keep: keep, log: log, now: time.Now, dirs: map[string]*checkout{}}, nil
}

// Base returns the directory that holds the checkouts.
func (c *Checkouts) Base() string { return c.base }

// Resolve returns the commit that revision names.
func (c *Checkouts) Resolve(ctx context.Context, repoURL, revision string) (string, error) {
	return c.git.Resolve(ctx, repoURL, revision)
}

// Checkout returns the directory, relative to Base, that holds the files of
// commit. It stays until release is called.
func (c *Checkouts) Checkout(ctx context.Context, repoURL, commit string) (dir string, release func(), err error) {
	dir = id.Of(repoURL, commit)
	for {
		co, mine := c.claim(dir)
		if mine {
			err := c.export(ctx, repoURL, commit, dir)
			c.exported(dir, co, err)
			if err != nil {
				return "", nil, err
			}
			return dir, c.releaser(co), nil
		}
		select {
		case <-co.ready:
		case <-ctx.Done():
			c.release(co)
			return "", nil, ctx.Err()
		}
		if co.err == nil {
			return dir, c.releaser(co), nil
		}
		c.release(co) // its error may be another caller's end: try ourselves
		if ctx.Err() != nil {
			return "", nil, ctx.Err()
		}
	}
}

func (c *Checkouts) claim(dir string) (*checkout, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	co, ok := c.dirs[dir]
	if !ok {
		co = &checkout{ready: make(chan struct{})}
		c.dirs[dir] = co
	}
	co.users++
	return co, !ok
}

func (c *Checkouts) releaser(co *checkout) func() {
	return sync.OnceFunc(func() { c.release(co) })
}

func (c *Checkouts) release(co *checkout) {
	c.mu.Lock()
	defer c.mu.Unlock()
	co.users--
	co.used = c.now()
	c.trim()
}

func (c *Checkouts) exported(dir string, co *checkout, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if co.err = err; err != nil {
		co.users--
		delete(c.dirs, dir)
	}
	close(co.ready)
}

// trim removes the directories that were unused for longest. Called with mu.
func (c *Checkouts) trim() {
	for {
		var oldest string
		unused := 0
		for dir, co := range c.dirs {
			if co.users > 0 {
				continue
			}
			unused++
			if oldest == "" || co.used.Before(c.dirs[oldest].used) {
				oldest = dir
			}
		}
		if unused <= c.keep {
			return
		}
		delete(c.dirs, oldest)
		if err := os.RemoveAll(filepath.Join(c.base, oldest)); err != nil {
			c.log.Warn("remove an old checkout", "dir", oldest, "error", err)
		}
	}
}

// export writes the files aside and moves them into place when complete.
func (c *Checkouts) export(ctx context.Context, repoURL, commit, dir string) error {
	aside := filepath.Join(c.base, dir+".tmp")
	if err := os.RemoveAll(aside); err != nil {
		return fmt.Errorf("check out %s: %w", commit, err)
	}
	defer os.RemoveAll(aside)
	if err := os.Mkdir(aside, 0o755); err != nil {
		return fmt.Errorf("check out %s: %w", commit, err)
	}
	if err := c.git.Export(ctx, repoURL, commit, aside); err != nil {
		return fmt.Errorf("check out %s: %w", commit, err)
	}
	if err := readable(aside); err != nil {
		return fmt.Errorf("check out %s: %w", commit, err)
	}
	if err := os.Rename(aside, filepath.Join(c.base, dir)); err != nil {
		return fmt.Errorf("check out %s: %w", commit, err)
	}
	return nil
}

// readable lets render workers, which run as nobody, read the files.
func readable(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	var errs []error
	err = fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		want := fi.Mode().Perm() | 0o444
		if d.IsDir() {
			want |= 0o111
		}
		if d.Type()&fs.ModeSymlink == 0 && want != fi.Mode().Perm() {
			errs = append(errs, root.Chmod(p, want))
		}
		return nil
	})
	return errors.Join(append(errs, err)...)
}
