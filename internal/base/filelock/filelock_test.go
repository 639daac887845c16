package filelock_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/penstock-dev/penstock/internal/base/filelock"
)

func TestTry(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	open := func() *os.File {
		t.Helper()
		f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	holder := open()
	if err := filelock.Try(holder, filelock.Exclusive); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []filelock.Kind{filelock.Exclusive, filelock.Shared} {
		if err := filelock.Try(open(), kind); !errors.Is(err, filelock.ErrLocked) {
			t.Errorf("of a held file, exclusive %t: %v", kind, err)
		}
	}
	if err := holder.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := filelock.Try(open(), filelock.Shared); err != nil {
			t.Errorf("shared, after the holder has gone: %v", err)
		}
	}
	if err := filelock.Try(open(), filelock.Exclusive); !errors.Is(err, filelock.ErrLocked) {
		t.Errorf("exclusive of a shared file: %v", err)
	}
	closed := open()
	closed.Close()
	if err := filelock.Try(closed, filelock.Shared); err == nil || errors.Is(err, filelock.ErrLocked) {
		t.Errorf("of a closed file: %v", err)
	}
}
