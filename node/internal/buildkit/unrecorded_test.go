package buildkit

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
)

func TestUnrecordedSnapshotsAreRemoved(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("overlay snapshots need root")
	}
	root := t.TempDir()
	sn, err := overlay.NewSnapshotter(root)
	if err != nil {
		t.Skipf("no overlay here: %v", err)
	}
	defer sn.Close()
	dir := filepath.Join(root, "snapshots")
	leave := func(id string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, id, "fs"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	count := func() int {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	// Killed at the very first snapshot, when nothing is recorded.
	leave("1")
	leave("new-12345")
	if err := dropUnrecorded(t.Context(), sn, dir); err != nil || count() != 0 {
		t.Fatalf("%v, %d left", err, count())
	}
	// Killed later: what is recorded stays.
	if _, err := sn.Prepare(t.Context(), "first", ""); err != nil {
		t.Fatal(err)
	}
	leave("2")
	if err := dropUnrecorded(t.Context(), sn, dir); err != nil || count() != 1 {
		t.Fatalf("%v, %d left, want 1", err, count())
	}
	if _, err := sn.Prepare(t.Context(), "second", ""); err != nil {
		t.Errorf("the next snapshot: %v", err)
	}
}
