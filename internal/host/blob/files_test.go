package blob_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/base/failpoint"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/blob"
	"github.com/penstock-dev/penstock/internal/host/blob/blobtest"
)

// putMode makes this test binary put one blob into the directory it names.
const putMode = "BLOB_TEST_PUT"

func TestMain(m *testing.M) {
	dir := os.Getenv(putMode)
	if dir == "" {
		os.Exit(m.Run())
	}
	s, err := blob.OpenFiles(dir)
	if err == nil {
		_, err = s.Put(context.Background(), "a/b", strings.NewReader("new"), blob.Expect{})
	}
	if err != nil {
		os.Exit(1)
	}
}

func openFiles(t *testing.T, dir string) blob.Store {
	t.Helper()
	s, err := blob.OpenFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// unfinished lists what Puts have not finished.
func unfinished(t *testing.T, dir string) []string {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(dir, "tmp", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return left
}

func TestFiles(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) (blob.Store, func() []string) {
		dir := t.TempDir()
		return openFiles(t, dir), func() []string { return unfinished(t, dir) }
	})
}

// TestFilesSurviveKills kills the process on both sides of the moment at which
// a blob gets its name: there is the old one or the new one, and the next
// opening leaves nothing else.
func TestFilesSurviveKills(t *testing.T) {
	for point, want := range map[string]string{"blob.put.before": "old", "blob.put.after": "new"} {
		dir := t.TempDir()
		s := openFiles(t, dir)
		if _, err := s.Put(t.Context(), "a/b", strings.NewReader("old"), blob.Expect{}); err != nil {
			t.Fatal(err)
		}
		s.Close()
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), putMode+"="+dir, failpoint.Env+"="+point)
		if err := cmd.Run(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("%s: %v", point, err)
		}
		if n := len(unfinished(t, dir)); n != map[string]int{"old": 1, "new": 0}[want] {
			t.Errorf("%s: %d files left by the kill", point, n)
		}
		s = openFiles(t, dir)
		defer s.Close()
		if left := unfinished(t, dir); len(left) > 0 {
			t.Errorf("%s: not swept: %v", point, left)
		}
		r, _, err := s.Get(t.Context(), "a/b", 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if b, err := io.ReadAll(r); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", point, b, err)
		}
	}
}

// TestFilesSweepLeavesOthersAlone: a second process that opens the store does
// not remove what the first is putting.
func TestFilesSweepLeavesOthersAlone(t *testing.T) {
	dir := t.TempDir()
	s := openFiles(t, dir)
	defer s.Close()
	r, w := io.Pipe()
	done := make(chan error)
	go func() {
		_, err := s.Put(t.Context(), "k", r, blob.Expect{Size: 6})
		done <- err
	}()
	if _, err := w.Write([]byte("abc")); err != nil {
		t.Fatal(err)
	}
	openFiles(t, dir).Close()
	if _, err := w.Write([]byte("def")); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestFilesArePrivate: what is stored is for the owner's eyes.
func TestFilesArePrivate(t *testing.T) {
	dir := t.TempDir()
	s := openFiles(t, dir)
	defer s.Close()
	if _, err := s.Put(t.Context(), "a/b", strings.NewReader("x"), blob.Expect{}); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err == nil && path != dir && fi.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is %v", path, fi.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestDeleteRemovesEmptyDirectories keeps a store that comes and goes small.
func TestDeleteRemovesEmptyDirectories(t *testing.T) {
	dir := t.TempDir()
	s := openFiles(t, dir)
	defer s.Close()
	for _, k := range []string{"a/b/c/d", "a/b/e"} {
		if _, err := s.Put(t.Context(), k, strings.NewReader("x"), blob.Expect{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Delete(t.Context(), "a/b/c/d"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "blobs", "a", "b", "c")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty directory stays: %v", err)
	}
	if _, err := s.Stat(t.Context(), "a/b/e"); err != nil {
		t.Error(err)
	}
}

func FuzzCheckKey(f *testing.F) {
	for _, k := range append(blobtest.Hostile, "a", "a/b", "logs/1/build/2.log") {
		f.Add(k)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, key string) {
		err := blob.CheckKey(key)
		if err != nil {
			if !errors.Is(err, problem.ErrInvalid) || len(err.Error()) > 2000 {
				t.Errorf("%q: %v", key, err)
			}
			return
		}
		if joined := filepath.Join(dir, key); joined != dir+"/"+key || !filepath.IsLocal(key) {
			t.Errorf("%q is not itself as a path: %s", key, joined)
		}
	})
}
