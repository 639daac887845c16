package source_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/gitops/source"
)

// repo exports one file that names the commit, and counts.
type repo struct {
	exports atomic.Int32
	fail    atomic.Bool
}

func (r *repo) Resolve(context.Context, string, string) (string, error) { return "", nil }

func (r *repo) Export(_ context.Context, _, commit, dst string) error {
	r.exports.Add(1)
	if err := os.MkdirAll(filepath.Join(dst, "dir"), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dst, "dir", "commit"), []byte(commit), 0o600); err != nil {
		return err
	}
	if err := os.Symlink("dir/commit", filepath.Join(dst, "link")); err != nil {
		return err
	}
	if r.fail.Load() {
		return errors.New("broke off")
	}
	return nil
}

func newCheckouts(t *testing.T, g source.Git, keep int) *source.Checkouts {
	t.Helper()
	base := filepath.Join(t.TempDir(), "gitops", "checkouts")
	if err := os.MkdirAll(filepath.Join(base, "left-over"), 0o755); err != nil {
		t.Fatal(err)
	}
	c, err := source.NewCheckouts(base, g, keep, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCheckoutIsSharedAndReadable(t *testing.T) {
	r := &repo{}
	c := newCheckouts(t, r, 1)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			dir, release, err := c.Checkout(t.Context(), "u", "c1")
			if err != nil {
				t.Error(err)
				return
			}
			defer release()
			b, err := os.ReadFile(filepath.Join(c.Base(), dir, "link"))
			if err != nil || string(b) != "c1" {
				t.Errorf("read %q, %v", b, err)
			}
		})
	}
	wg.Wait()
	if n := r.exports.Load(); n != 1 {
		t.Errorf("%d exports of one commit", n)
	}
	entries, err := os.ReadDir(c.Base())
	if err != nil || len(entries) != 1 {
		t.Errorf("base holds %v, %v", entries, err)
	}
	// Workers are nobody: they pass directories and read files.
	err = filepath.WalkDir(c.Base(), func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		if want := fs.FileMode(0o444); d.Type()&fs.ModeSymlink == 0 && fi.Mode().Perm()&want != want {
			t.Errorf("%s has mode %v", p, fi.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOldCheckoutsGoAndUsedOnesStay(t *testing.T) {
	r := &repo{}
	c := newCheckouts(t, r, 1)
	used, release, err := c.Checkout(t.Context(), "u", "used")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	for _, commit := range []string{"a", "b", "c"} {
		_, release, err := c.Checkout(t.Context(), "u", commit)
		if err != nil {
			t.Fatal(err)
		}
		release()
		release() // a second time does nothing
	}
	entries, err := os.ReadDir(c.Base())
	if err != nil || len(entries) != 2 {
		t.Errorf("base holds %d directories, want the used one and one more (%v)", len(entries), err)
	}
	if _, err := os.Stat(filepath.Join(c.Base(), used)); err != nil {
		t.Errorf("the used one: %v", err)
	}
}

func TestFailedExportLeavesNothing(t *testing.T) {
	r := &repo{}
	r.fail.Store(true)
	c := newCheckouts(t, r, 1)
	if _, _, err := c.Checkout(t.Context(), "u", "c"); err == nil {
		t.Fatal("no error")
	}
	entries, err := os.ReadDir(c.Base())
	if err != nil || len(entries) != 0 {
		t.Errorf("base holds %v, %v", entries, err)
	}
	r.fail.Store(false)
	if _, release, err := c.Checkout(t.Context(), "u", "c"); err != nil {
		t.Errorf("the next try: %v", err)
	} else {
		release()
	}
}

type host struct{ repo }

func (*host) Hosted(url string) (string, bool) { return "o/r", url == "http://ours/o/r.git" }

func TestHostedRefusesOtherServers(t *testing.T) {
	h := source.Hosted{Host: &host{}}
	if _, err := h.Resolve(t.Context(), "https://github.com/o/r", "main"); !errors.Is(err, problem.ErrInvalid) {
		t.Errorf("resolve: %v", err)
	}
	if err := h.Export(t.Context(), "https://github.com/o/r", "c", t.TempDir()); !errors.Is(err, problem.ErrInvalid) {
		t.Errorf("export: %v", err)
	}
	if _, err := h.Resolve(t.Context(), "http://ours/o/r.git", "main"); err != nil {
		t.Errorf("our own: %v", err)
	}
}
