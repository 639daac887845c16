package runner

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestSpares(t *testing.T) {
	for name, dir := range map[string]string{"supplied": t.TempDir(), "cannot be made": filepath.Join(t.TempDir(), "missing")} {
		t.Run(name, func(t *testing.T) {
			s := newSpares(dir)
			if name == "supplied" {
				for deadline := time.Now().Add(30 * time.Second); len(s.ready) < cap(s.ready); time.Sleep(time.Millisecond) {
					if time.Now().After(deadline) {
						t.Fatal("no file is made in advance")
					}
				}
			}
			at := t.TempDir()
			for i, mode := range []os.FileMode{0o600, 0o755, 0o600, 0o755, 0o600} {
				path := filepath.Join(at, string(rune('a'+i)))
				f, err := s.at(path, mode)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := f.WriteString("x"); err != nil {
					t.Fatal(err)
				}
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
				fi, err := os.Lstat(path)
				if err != nil || fi.Mode() != mode || fi.Size() != 1 {
					t.Errorf("file %d: %v, %v", i, fi, err)
				}
			}
			s.close()
			if len(s.ready) > 0 {
				t.Error("files are left open")
			}
		})
	}
}
