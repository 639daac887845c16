package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

func TestAStoreBelongsToOneDirectory(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		ctx := t.Context()
		db := p.open()
		mine, other := filepath.Join(t.TempDir(), "id"), filepath.Join(t.TempDir(), "id")
		for range 2 {
			if err := db.Bind(ctx, mine); err != nil {
				t.Fatal(err)
			}
		}
		refused := func(path, why string) string {
			t.Helper()
			err := db.Bind(ctx, path)
			var p *problem.Error
			if !errors.As(err, &p) || p.Hint == "" || !strings.Contains(err.Error(), why) {
				t.Fatalf("bound to %s: %v", path, err)
			}
			return p.Hint
		}
		hint := refused(other, "or this one is not what it was")
		if _, err := os.Stat(other); err == nil {
			t.Error("the refused directory was marked")
		}
		// What the hint says helps.
		_, command, _ := strings.Cut(hint, "echo ")
		name, _, _ := strings.Cut(command, " > ")
		if err := os.WriteFile(other, []byte(name+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := db.Bind(ctx, other); err != nil {
			t.Errorf("after what the hint says: %v", err)
		}
		if err := os.WriteFile(other, []byte("x\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		refused(other, "another data directory")
	})
}

// TestAnEmptyStoreTakesTheNameOfItsDirectory as after a crash between the two,
// or with a new database for an old directory.
func TestAnEmptyStoreTakesTheNameOfItsDirectory(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		db := p.open()
		path := filepath.Join(t.TempDir(), "id")
		if err := os.WriteFile(path, []byte("abc\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := db.Bind(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != "abc\n" {
			t.Errorf("%q, %v", b, err)
		}
		if err := db.Bind(t.Context(), path); err != nil {
			t.Error(err)
		}
	})
}
