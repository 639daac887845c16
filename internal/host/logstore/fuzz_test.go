package logstore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/penstock-dev/penstock/internal/host/blob"
)

// one is a store of a single blob.
type one struct {
	blob.Store
	content []byte
}

func (o *one) Stat(context.Context, string) (blob.Info, error) {
	return blob.Info{Size: int64(len(o.content))}, nil
}

func (o *one) Get(_ context.Context, _ string, offset, length int64) (io.ReadCloser, blob.Info, error) {
	size := int64(len(o.content))
	if offset < 0 || offset > size {
		return nil, blob.Info{}, errors.New("range")
	}
	return io.NopCloser(io.NewSectionReader(bytes.NewReader(o.content), offset, min(length, size-offset))), blob.Info{Size: size}, nil
}

func (o *one) Put(_ context.Context, _ string, r io.Reader, _ blob.Expect) (p blob.Put, err error) {
	o.content, err = io.ReadAll(r)
	return p, err
}

// walk reads all of a log and some rows in it.
func walk(t *testing.T, r Reader) {
	total := int64(0)
	_, err := r.Read(t.Context(), 0, -1, func(row int64, text []byte) error {
		if row != total || bytes.IndexByte(text, '\n') >= 0 {
			t.Fatalf("row %d, the %dth", row, total)
		}
		total++
		return nil
	})
	if err == nil {
		if n, rerr := r.Rows(t.Context()); rerr != nil || n != total {
			t.Fatalf("%d rows, read %d: %v", n, total, rerr)
		}
	}
	if total > 0 {
		n := 0
		_, _ = r.Read(t.Context(), total-1, 1, func(row int64, _ []byte) error {
			if row != total-1 {
				t.Fatalf("row %d instead of %d", row, total-1)
			}
			n++
			return nil
		})
		if n > 1 {
			t.Fatalf("%d rows instead of 1", n)
		}
	}
}

func FuzzFile(f *testing.F) {
	content, _ := small(f)
	f.Add(content)
	f.Add([]byte(stamp + "a line\n" + stamp + "not whole"))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		r := open(t, path)
		defer r.Close()
		walk(t, r)
	})
}

func FuzzSealed(f *testing.F) {
	content, _ := small(f)
	path := filepath.Join(f.TempDir(), "log")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		f.Fatal(err)
	}
	store := &one{}
	if _, err := Seal(context.Background(), path, store, "k"); err != nil {
		f.Fatal(err)
	}
	f.Add(store.content)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := OpenSealed(t.Context(), &one{content: b}, "k")
		if err != nil {
			return
		}
		defer r.Close()
		walk(t, r)
	})
}
