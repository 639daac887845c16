package git_test

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// TestPushesSideBySide lets clients push to one repository at the same time,
// to branches of their own and to a shared one.
func TestPushesSideBySide(t *testing.T) {
	h := start(t, t.TempDir())
	u := h.create("demo/busy")
	const clients, rounds = 6, 3
	var wg sync.WaitGroup
	for c := range clients {
		dir := work(t, map[string]string{"client": fmt.Sprint(c)})
		wg.Go(func() {
			for r := range rounds {
				commit(t, dir, map[string]string{"round": fmt.Sprint(c, r)})
				if out, err := client(t, dir, "push", "-q", u, fmt.Sprintf("HEAD:refs/heads/own-%d", c)); err != nil {
					t.Errorf("client %d: %v\n%s", c, err, out)
				}
				// The shared branch may have moved since the client looked;
				// then git refuses, which is an answer as well.
				_, _ = client(t, dir, "push", "-q", "--force", u, "HEAD:refs/heads/shared")
			}
		})
	}
	wg.Wait()
	at := map[string]string{}
	own := 0
	for _, e := range h.events() {
		if len(e.Updates) != 1 {
			t.Errorf("pushes were mixed in one event: %+v", e.Updates)
		}
		for _, up := range e.Updates {
			if before := at[up.Ref]; before != up.Before && !(before == "" && up.Before == zero) {
				t.Errorf("%s went from %q, but was at %q", up.Ref, up.Before, before)
			}
			at[up.Ref] = up.After
			if strings.HasPrefix(up.Ref, "refs/heads/own-") {
				own++
			}
		}
	}
	if own != clients*rounds {
		t.Errorf("%d events of own branches, want %d", own, clients*rounds)
	}
	for line := range strings.Lines(run(t, h.dir, "ls-remote", "--heads", u)) {
		f := strings.Fields(line)
		if at[f[1]] != f[0] {
			t.Errorf("%s is at %s, the events say %s", f[1], f[0], at[f[1]])
		}
	}
}

func TestManyRefsInOnePush(t *testing.T) {
	h := start(t, t.TempDir())
	u := h.create("demo/many")
	dir := work(t, map[string]string{"a": "1"})
	head := run(t, dir, "rev-parse", "HEAD")
	const n = 2500
	var packed strings.Builder
	packed.WriteString("# pack-refs with: peeled fully-peeled sorted \n")
	var want []string
	for i := range n {
		ref := fmt.Sprintf("refs/tags/t%05d", i)
		want = append(want, ref)
		packed.WriteString(head + " " + ref + "\n")
	}
	if err := os.WriteFile(filepath.Join(dir, ".git", "packed-refs"), []byte(packed.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "push", "-q", "--tags", u)
	var got []string
	ids := map[string]bool{}
	for _, e := range h.events() {
		if len(e.Updates) > 1000 {
			t.Errorf("an event of %d refs", len(e.Updates))
		}
		ids[e.ID] = true
		for _, up := range e.Updates {
			got = append(got, up.Ref)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || len(ids) != 3 {
		t.Errorf("%d events, refs differ:\n%.2000s", len(ids), diff)
	}
}

func TestALargePushIsStreamed(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 100 MiB several times over")
	}
	h := start(t, t.TempDir())
	u := h.create("demo/large")
	dir := t.TempDir()
	run(t, dir, "init", "-q", "-b", "main")
	run(t, dir, "config", "core.compression", "0")
	f, err := os.Create(filepath.Join(dir, "noise"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(f, rand.Reader, 100<<20); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	head := commit(t, dir, nil)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begin := time.Now()
	run(t, dir, "push", "-q", u, "main")
	runtime.ReadMemStats(&after)
	grew := int64(after.TotalAlloc - before.TotalAlloc)
	t.Logf("100 MiB pushed in %s, %d KiB allocated", time.Since(begin), grew>>10)
	if grew > 20<<20 {
		t.Errorf("the push was held in memory: %d MiB allocated", grew>>20)
	}
	if e := h.events(); len(e) != 1 || e[0].Updates[0].After != head {
		t.Errorf("events %+v", e)
	}
	to := t.TempDir()
	run(t, to, "clone", "-q", u, "copy")
	if fi, err := os.Stat(filepath.Join(to, "copy", "noise")); err != nil || fi.Size() != 100<<20 {
		t.Errorf("cloned %v, %v", fi, err)
	}
}

// TestAPushThatCannotBeRecordedIsNotAcknowledged lets the event log fail.
func TestAPushThatCannotBeRecordedIsNotAcknowledged(t *testing.T) {
	h := start(t, t.TempDir())
	u := h.create("demo/shop")
	dir := work(t, map[string]string{"a": "1"})
	head := run(t, dir, "rev-parse", "HEAD")
	exec := func(stmt string) {
		t.Helper()
		if err := h.db.Write(t.Context(), func(tx store.Tx) error {
			_, err := tx.ExecContext(t.Context(), stmt)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	exec(`CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(FAIL, 'disk full'); END`)
	fails(t, "could not record it", dir, "push", u, "main")
	if n := len(h.events()); n != 0 {
		t.Fatalf("%d events", n)
	}
	exec(`DROP TRIGGER full`)
	deadline := time.Now().Add(20 * time.Second)
	for len(h.events()) == 0 && time.Now().Before(deadline) {
		time.Sleep(50 * time.Millisecond)
	}
	run(t, dir, "push", "-q", u, "main")
	want := []event.RefUpdate{{Ref: "refs/heads/main", Before: zero, After: head}}
	if e := h.events(); len(e) != 1 || !cmp.Equal(e[0].Updates, want) {
		t.Errorf("events %+v, want one with %+v", e, want)
	}
}

func TestManyPacksBecomeOne(t *testing.T) {
	h := start(t, t.TempDir())
	u := h.create("demo/packs")
	dir := work(t, map[string]string{"a": "0"})
	packs := func() int {
		p, err := filepath.Glob(filepath.Join(h.dir, "git/demo/packs.git/objects/pack/*.pack"))
		if err != nil {
			t.Fatal(err)
		}
		return len(p)
	}
	pushed := 0
	for ; pushed < 45; pushed++ {
		commit(t, dir, map[string]string{"a": fmt.Sprint(pushed)})
		run(t, dir, "push", "-q", u, "main")
	}
	deadline := time.Now().Add(30 * time.Second)
	for packs() >= 40 && time.Now().Before(deadline) {
		time.Sleep(50 * time.Millisecond)
	}
	if n := packs(); n > 10 {
		t.Errorf("%d packs are left", n)
	}
	if n := len(h.events()); n != pushed {
		t.Errorf("%d events, want %d", n, pushed)
	}
	to := t.TempDir()
	run(t, to, "clone", "-q", u, "copy")
	if n := run(t, to+"/copy", "rev-list", "--count", "HEAD"); n != fmt.Sprint(pushed+1) {
		t.Errorf("%s commits, want %d", n, pushed+1)
	}
}

func TestListAndDelete(t *testing.T) {
	h := start(t, t.TempDir())
	for _, n := range []string{"b/one", "a/two", "a/one"} {
		h.create(n)
	}
	names := func() (out []string) {
		repos, err := h.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range repos {
			out = append(out, r.Name)
		}
		return out
	}
	if got := names(); !slices.Equal(got, []string{"a/one", "a/two", "b/one"}) {
		t.Errorf("listed %v", got)
	}
	dir := work(t, map[string]string{"a": "1"})
	run(t, dir, "push", "-q", h.url+"b/one.git", "main")
	if err := h.Delete(t.Context(), "b/one"); err != nil {
		t.Fatal(err)
	}
	if got := names(); !slices.Equal(got, []string{"a/one", "a/two"}) {
		t.Errorf("listed %v", got)
	}
	if _, err := os.Stat(filepath.Join(h.dir, "git", "b")); err == nil {
		t.Error("the owner's directory is left")
	}
	h.create("b/one") // a name can be used again, and its pushes are new
	run(t, dir, "push", "-q", h.url+"b/one.git", "main")
	if n := len(h.events()); n != 2 {
		t.Errorf("%d events, want 2", n)
	}
}
