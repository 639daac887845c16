package app

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/git"
	"github.com/penstock-dev/penstock/internal/host/store"
)

var _ git.Secrets = gitSecrets{}

// TestGitSecrets: what the Git host wants of its secrets, and where the key
// file is.
func TestGitSecrets(t *testing.T) {
	dir := t.TempDir()
	db, err := store.Open(t.Context(), filepath.Join(dir, "store.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	vault, err := openVault(t.Context(), db, dir, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "master.key")); err != nil {
		t.Error(err)
	}
	g := gitSecrets{vault}
	if _, err := g.Get(t.Context(), "mirror/demo/shop"); !errors.Is(err, problem.ErrNotFound) {
		t.Errorf("absent: %v", err)
	}
	for _, v := range []string{"one", "two"} {
		if err := g.Put(t.Context(), "mirror/demo/shop", []byte(v)); err != nil {
			t.Fatal(err)
		}
		if b, err := g.Get(t.Context(), "mirror/demo/shop"); err != nil || string(b) != v {
			t.Errorf("%q, %v", b, err)
		}
	}
	for range 2 {
		if err := g.Delete(t.Context(), "mirror/demo/shop"); err != nil {
			t.Error(err)
		}
	}
	// With secrets in the store, another place without a file is an error.
	if err := g.Put(t.Context(), "x", []byte("y")); err != nil {
		t.Fatal(err)
	}
	if _, err := openVault(t.Context(), db, dir, filepath.Join(dir, "elsewhere")); err == nil {
		t.Error("a new key was made while there are secrets")
	}
	if err := os.Rename(filepath.Join(dir, "master.key"), filepath.Join(dir, "elsewhere")); err != nil {
		t.Fatal(err)
	}
	t.Setenv(keyFileEnv, filepath.Join(dir, "elsewhere"))
	if vault, err = openVault(t.Context(), db, dir, ""); err != nil {
		t.Fatal(err)
	}
	if b, err := (gitSecrets{vault}).Get(t.Context(), "x"); err != nil || string(b) != "y" {
		t.Errorf("%q, %v", b, err)
	}
}
