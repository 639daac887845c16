package git_test

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestAFullDiskRefusesAPushAndNothingElse gives the server a small disk.
func TestAFullDiskRefusesAPushAndNothingElse(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	disk := t.TempDir()
	if err := syscall.Mount("penstock-test", disk, "tmpfs", 0, "size=24m"); err != nil {
		t.Skipf("no tmpfs here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	h := start(t, disk)
	u := h.create("demo/shop")
	dir := work(t, map[string]string{"a": "1"})
	run(t, dir, "push", "-q", u, "main")

	noise := make([]byte, 40<<20)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	big := work(t, map[string]string{"noise": string(noise)})
	fails(t, "No space left on device", big, "push", u, "main:refs/heads/big")
	left, err := filepath.Glob(filepath.Join(disk, "git/demo/shop.git/objects/tmp_objdir-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	commit(t, dir, map[string]string{"a": "2"})
	run(t, dir, "push", "-q", u, "main")
	if n := len(h.events()); n != 2 {
		t.Errorf("%d events, want 2", n)
	}
}
