package secret

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/penstock-dev/penstock/internal/base/failpoint"
	"github.com/penstock-dev/penstock/internal/host/store"
	"github.com/penstock-dev/penstock/internal/host/store/storetest"
)

// childMode makes this test binary set a secret in the directory it names and
// then rotate the master key.
const childMode = "SECRET_TEST_CHILD"

func TestMain(m *testing.M) {
	dir := os.Getenv(childMode)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := beChild(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func beChild(dir string) error {
	ctx := context.Background()
	where, err := storetest.Where(dir)
	if err != nil {
		return err
	}
	db, err := store.Open(ctx, where)
	if err != nil {
		return err
	}
	v, err := OpenFile(ctx, db, filepath.Join(dir, "keys"))
	if err != nil {
		return err
	}
	if _, err := v.Set(ctx, name("child"), NewValue([]byte("by the child"))); err != nil {
		return err
	}
	return errors.Join(v.Rotate(ctx), db.Close())
}

// TestRotate: after it everything is readable, under a new key alone.
func TestRotate(t *testing.T) {
	h := newHouse(t)
	old := h.ring.keys[0].id
	const n = 2*rewrapBatch + 7
	for i := range n {
		h.set(t, name(fmt.Sprint("s", i)), fmt.Sprint("value ", i))
	}
	before := h.row(t, name("s5"), 1)
	if err := h.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := h.row(t, name("s5"), 1)
	if string(before.sealed) != string(after.sealed) || string(before.wrapped) == string(after.wrapped) {
		t.Error("rotation changes the wrapped data key and nothing else")
	}
	h, err := h.again(t)
	if err != nil {
		t.Fatal(err)
	}
	if len(h.ring.keys) != 1 || h.ring.keys[0].id == old {
		t.Errorf("%d keys, the old one is %s", len(h.ring.keys), old)
	}
	for i := range n {
		if got := h.get(t, name(fmt.Sprint("s", i)), 0); got != fmt.Sprint("value ", i) {
			t.Fatalf("secret %d is %q", i, got)
		}
	}
}

// TestRotateWhileSetting: nothing is written under a key that is gone.
func TestRotateWhileSetting(t *testing.T) {
	h := newHouse(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := h.Set(t.Context(), name(fmt.Sprint("s", i)), NewValue(fmt.Append(nil, "value ", i))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 5 {
		if err := h.Rotate(t.Context()); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
	h, err := h.again(t)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		list, err := h.List(t.Context(), "ci", "demo/shop", "", 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range list {
			if in.Name != name(fmt.Sprint("s", i)) {
				continue
			}
			for version := max(1, in.Version-keepVersions+1); version <= in.Version; version++ {
				if got := h.get(t, in.Name, version); got != fmt.Sprint("value ", i) {
					t.Errorf("%+v is %q", in, got)
				}
			}
		}
	}
}

// TestRotatorDies kills a process at each durable write of a Set and a
// rotation: what was set before is readable afterwards, and rotating again
// works.
func TestRotatorDies(t *testing.T) {
	for point, set := range map[string]bool{
		"secret.set.before": false, "secret.set.after": true,
		"secret.key.added.before": true, "secret.key.added.after": true, "secret.rewrap.before": true, "secret.rewrap.after": true,
		"secret.key.removed.before": true, "secret.key.removed.after": true,
	} {
		h := newHouse(t)
		h.set(t, name("A"), "before")
		if err := h.db.Close(); err != nil { // one server at a time
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childMode+"="+h.dir, failpoint.Env+"="+point)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("%s: %v\n%s", point, err, out)
		}
		h.db = openDB(t, h.dir)
		if h, err = h.again(t); err != nil {
			t.Errorf("%s: %v", point, err)
			continue
		}
		for range 2 {
			if got := h.get(t, name("A"), 0); got != "before" {
				t.Errorf("%s: %q", point, got)
			}
			if set {
				if got := h.get(t, name("child"), 0); got != "by the child" {
					t.Errorf("%s: %q", point, got)
				}
			}
			if err := h.Rotate(t.Context()); err != nil {
				t.Errorf("%s: %v", point, err)
			}
		}
		if len(h.ring.keys) != 1 {
			t.Errorf("%s: %d keys left", point, len(h.ring.keys))
		}
	}
}
