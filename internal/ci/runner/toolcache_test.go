package runner

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestToolCacheIsOneForEachRepository(t *testing.T) {
	root := t.TempDir()
	a, err := toolCache(root, "demo/shop")
	if err != nil {
		t.Fatal(err)
	}
	b, err := toolCache(root, "demo/other")
	if err != nil {
		t.Fatal(err)
	}
	if a == b || !strings.HasPrefix(a, root+"/") {
		t.Errorf("tool caches %s and %s", a, b)
	}
	if again, err := toolCache(root, "demo/shop"); err != nil || again != a {
		t.Errorf("second time %s, %v", again, err)
	}
}

func TestPruneToolCache(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	for name, age := range map[string]time.Duration{"go/old": 3 * time.Hour, "go/middle": 2 * time.Hour, "node/new": time.Hour} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, 100), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now, now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	left := func() []string {
		files, err := filepath.Glob(filepath.Join(dir, "*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range files {
			files[i] = strings.TrimPrefix(files[i], dir+"/")
		}
		return files
	}
	for _, c := range []struct {
		limit int64
		want  []string
	}{
		{300, []string{"go/middle", "go/old", "node/new"}},
		{299, []string{"go/middle", "node/new"}},
		{150, []string{"node/new"}},
		{0, nil},
	} {
		if err := pruneToolCache(dir, c.limit); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c.want, left()); d != "" {
			t.Errorf("limit %d (-want +got):\n%s", c.limit, d)
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, "link")); err != nil {
		t.Error("a link was removed")
	}
}
