package git_test

import (
	"testing"
)

// TestRefsOfAnyBytes pushes names that are no text; the record has to tell
// them apart and to find them again, or each settling would make new events.
func TestRefsOfAnyBytes(t *testing.T) {
	h := start(t, t.TempDir())
	url := h.create("demo/shop")
	w := work(t, map[string]string{"a": "1"})
	run(t, w, "push", "-q", url, "main", "main:refs/heads/gr\xfc\xdfe", "main:refs/heads/gr\xfc\xdff")
	if n := len(h.events()); n != 1 {
		t.Fatalf("%d events after one push", n)
	}
	commit(t, w, map[string]string{"a": "2"})
	run(t, w, "push", "-q", url, "main", ":refs/heads/gr\xfc\xdfe")
	events := h.events()
	if len(events) != 2 || len(events[1].Updates) != 2 {
		t.Errorf("after two pushes: %+v", events)
	}
	// A restart compares once more.
	h.db.Close()
	later := start(t, h.dir)
	if n := len(later.events()); n != 2 || later.pushes.all != nil {
		t.Errorf("%d events after a restart", n)
	}
}
