package registry_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestDiskFull pushes more than there is room for. It is refused, leaves
// nothing, and what fits is taken afterwards.
func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a small file system")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("mounts no file system here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	w := startIn(t, dir)
	large := bytes.Repeat([]byte("x"), 4<<20)
	d := digest.FromBytes(large)
	w.want(w.do("POST", "/v2/demo/shop/blobs/uploads/?digest="+d.String(), large), 507, "UNKNOWN")
	loc := w.want(w.do("POST", "/v2/demo/shop/blobs/uploads/", nil), 202).Header.Get("Location")
	a := w.want(w.do("PATCH", loc, large), 507, "UNKNOWN")
	if strings.Contains(string(a.body), dir) {
		t.Errorf("the answer tells where things are: %s", a.body)
	}
	w.want(w.do("DELETE", loc, nil), 204)
	left, err := filepath.Glob(filepath.Join(dir, "uploads", "*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
	w.pushManifest("demo/shop", "v1", w.image("demo/shop", "small"))
	w.want(w.do("HEAD", "/v2/demo/shop/blobs/"+d.String(), nil), 404)
}
