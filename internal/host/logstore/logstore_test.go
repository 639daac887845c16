package logstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/penstock-dev/penstock/internal/base/redact"
	"github.com/penstock-dev/penstock/internal/host/blob"
)

// at is the moment of all rows of these tests.
var at = time.Date(2026, 8, 1, 2, 3, 4, 567_800_000, time.UTC)

const stamp = "2026-08-01T02:03:04.5678000Z "

func create(t testing.TB, path string, o Options) *Writer {
	t.Helper()
	w, err := Create(path, o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func shut(t testing.TB, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, path string) Reader {
	t.Helper()
	r, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// read returns rows without their time.
func read(t testing.TB, r Reader, from, limit int64) []string {
	t.Helper()
	var rows []string
	next, err := r.Read(t.Context(), from, limit, func(row int64, text []byte) error {
		if row != from+int64(len(rows)) {
			t.Fatalf("row %d after row %d", row, from+int64(len(rows))-1)
		}
		s, ok := strings.CutPrefix(string(text), stamp)
		if !ok {
			t.Fatalf("row %d has no time: %q", row, text)
		}
		rows = append(rows, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if next != from+int64(len(rows)) {
		t.Fatalf("read %d rows from %d, next is %d", len(rows), from, next)
	}
	return rows
}

func files(t testing.TB) blob.Store {
	t.Helper()
	s, err := blob.OpenFiles(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func openSealed(t testing.TB, s blob.Store, key string) Reader {
	t.Helper()
	r, err := OpenSealed(t.Context(), s, key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// texts makes n rows of many lengths, some of them beyond a frame.
func texts(n int) []string {
	random := rand.New(rand.NewPCG(1, 2))
	out := make([]string, n)
	for i := range out {
		length := random.IntN(100)
		if i%500 == 7 {
			length = 300_000
		}
		b := make([]byte, length)
		for j := range b {
			b[j] = byte('a' + random.IntN(20))
		}
		out[i] = string(b)
	}
	return out
}

// TestRows reads what was written: from the file, from the blob, as ranges.
func TestRows(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3000} {
		path := filepath.Join(t.TempDir(), "log")
		want := texts(n)
		w := create(t, path, Options{Now: func() time.Time { return at }})
		for _, text := range want {
			w.Print(text)
		}
		shut(t, w)
		store := files(t)
		if rows, err := Seal(t.Context(), path, store, "k"); err != nil || rows != int64(n) {
			t.Fatal(rows, err)
		}
		file := open(t, path)
		defer file.Close()
		for what, r := range map[string]Reader{"file": file, "sealed": openSealed(t, store, "k")} {
			if rows, err := r.Rows(t.Context()); err != nil || rows != int64(n) {
				t.Errorf("%s of %d: %d rows, %v", what, n, rows, err)
			}
			if d := cmp.Diff(want, append([]string{}, read(t, r, 0, -1)...)); d != "" {
				t.Errorf("%s of %d (-want +got):\n%s", what, n, d)
			}
			for _, q := range [][2]int{{0, 1}, {0, 0}, {n / 2, 3}, {n - 1, 1}, {n - 1, 5}, {n, 1}, {n + 5, 1}, {7, 1}, {1000, 1500}, {2998, -1}} {
				from, to := min(q[0], n), min(q[0]+q[1], n)
				if q[1] < 0 {
					to = n
				}
				if q[0] < 0 {
					continue
				}
				if d := cmp.Diff(append([]string{}, want[from:max(from, to)]...), append([]string{}, read(t, r, int64(q[0]), int64(q[1]))...)); d != "" {
					t.Errorf("%s of %d: %d rows from %d (-want +got):\n%s", what, n, q[1], q[0], d)
				}
			}
		}
	}
}

// TestAnyZstdReadsIt: the frames are ordinary ones.
func TestAnyZstdReadsIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := create(t, path, Options{Now: func() time.Time { return at }})
	want := ""
	for _, text := range texts(1000) {
		w.Print(text)
		want += stamp + text + "\n"
	}
	shut(t, w)
	store := files(t)
	if _, err := Seal(t.Context(), path, store, "k"); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sealed, _, err := store.Get(t.Context(), "k", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer sealed.Close()
	for what, r := range map[string]io.Reader{"file": f, "sealed": sealed} {
		z, err := zstd.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(z)
		z.Close()
		if err != nil || string(got) != want {
			t.Errorf("%s: %d bytes, want %d: %v", what, len(got), len(want), err)
		}
	}
}

// TestPrintSplits: several lines become several rows, a long one as well.
func TestPrintSplits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := create(t, path, Options{Now: func() time.Time { return at }})
	w.Print("a\r\n\nb\n")
	long := strings.Repeat("x", MaxRow)
	w.Print(long + long + "end")
	shut(t, w)
	r := open(t, path)
	defer r.Close()
	if d := cmp.Diff([]string{"a", "", "b", "", long, long, "end"}, read(t, r, 0, -1)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestFollow: the first row after a pause is there at once, those that follow
// it in 40 ms at the latest, together.
func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	synctest.Test(t, func(t *testing.T) {
		w := create(t, path, Options{})
		r := open(t, path)
		rows := func() int64 {
			n, err := r.Rows(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		for round := range int64(3) {
			w.Print("a")
			if n := rows(); n != 3*round+1 {
				t.Errorf("round %d: %d rows after the first", round, n)
			}
			w.Print("b")
			w.Print("c")
			if n := rows(); n != 3*round+1 {
				t.Errorf("round %d: %d rows, the second did not wait", round, n)
			}
			time.Sleep(quiet)
			synctest.Wait()
			if n := rows(); n != 3*round+3 {
				t.Errorf("round %d: %d rows after %v", round, n, quiet)
			}
			time.Sleep(time.Second)
		}
		w.Print("a")
		w.Print("b")
		shut(t, w)
		if n := rows(); n != 11 {
			t.Errorf("%d rows after the end", n)
		}
		w.Print("late") // of a goroutine that has not heard of it
		if n := rows(); n != 11 {
			t.Errorf("%d rows, one was printed after the end", n)
		}
		shut(t, r)
	})
	if fi, err := os.Stat(path); err != nil || fi.Size() > 8*200 {
		t.Errorf("11 rows in %d bytes, %v", fi.Size(), err)
	}
}

// TestMaskedBeforeDisk looks for a secret in the bytes of the file and in
// those of the text.
func TestMaskedBeforeDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	m := redact.New()
	if err := m.Add("canary-d41d8cd9"); err != nil {
		t.Fatal(err)
	}
	w := create(t, path, Options{Mask: m, Now: func() time.Time { return at }})
	lines := NewLines(m, w.Print)
	for _, p := range []string{"one canary-d4", "1d8cd9 two\rcanary", "-d41d8cd9\n", "canary-d41d8cd9"} {
		if _, err := lines.Write([]byte(p)); err != nil {
			t.Fatal(err)
		}
	}
	lines.Flush()
	w.Print("multi\ncanary-d41d8cd9\nline")
	shut(t, w)
	r := open(t, path)
	defer r.Close()
	if d := cmp.Diff([]string{"one *** two", "***", "***", "multi", "***", "line"}, read(t, r, 0, -1)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	b, err := os.ReadFile(path)
	if err != nil || bytes.Contains(b, []byte("canary")) {
		t.Errorf("the file holds the secret, %v", err)
	}
}

func TestALogIsCutAtItsLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for range 2 { // a log that was continued is full, too
		w := create(t, path, Options{Limit: 1000, Now: func() time.Time { return at }})
		for range 1000 {
			w.Print("a line of the step")
		}
		shut(t, w)
	}
	r := open(t, path)
	defer r.Close()
	rows := read(t, r, 0, -1)
	last := rows[len(rows)-1]
	if len(rows) < 10 || len(rows) > 30 || !strings.HasPrefix(last, "##[warning]This log is longer") {
		t.Errorf("the last of %d rows is %q", len(rows), last)
	}
	if n := strings.Count(strings.Join(rows, "\n"), "##[warning]"); n != 1 {
		t.Errorf("%d warnings", n)
	}
}

// TestEndlessLine: a line of 1 GiB costs the memory of some frames.
func TestEndlessLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	m := redact.New()
	w := create(t, path, Options{Mask: m})
	lines := NewLines(m, w.Print)
	block := bytes.Repeat([]byte("endless "), 4<<10)
	runtime.GC() // what other tests left
	peak := uint64(0)
	for i := range 1 << 30 / len(block) {
		if _, err := lines.Write(block); err != nil {
			t.Fatal(err)
		}
		if i%4096 == 0 {
			var s runtime.MemStats
			runtime.ReadMemStats(&s)
			peak = max(peak, s.HeapInuse)
		}
	}
	lines.Flush()
	shut(t, w)
	if peak > 100<<20 {
		t.Errorf("%d MiB in use", peak>>20)
	}
	r := open(t, path)
	defer r.Close()
	rows, err := r.Rows(t.Context())
	if want := int64(DefaultLimit / MaxRow); err != nil || rows < want || rows > want+1 {
		t.Errorf("%d rows, %v", rows, err)
	}
}

// counting counts what is fetched from a store.
type counting struct {
	blob.Store
	bytes int64
	gets  int
}

func (c *counting) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, blob.Info, error) {
	r, in, err := c.Store.Get(ctx, key, offset, length)
	c.gets++
	return &countingReader{r, c}, in, err
}

type countingReader struct {
	io.ReadCloser
	c *counting
}

func (r *countingReader) Read(b []byte) (int, error) {
	n, err := r.ReadCloser.Read(b)
	r.c.bytes += int64(n)
	return n, err
}

// TestAMillionRows: any of them is found by reading one frame and the index,
// in the memory of little more.
func TestAMillionRows(t *testing.T) {
	const n = 1_000_000
	path := filepath.Join(t.TempDir(), "log")
	w := create(t, path, Options{Now: func() time.Time { return at }})
	text := func(i int64) string {
		return fmt.Sprintf("line %d of the build: compiling package number %d", i, i*7919%n)
	}
	for i := range int64(n) {
		w.Print(text(i))
	}
	shut(t, w)
	store := &counting{Store: files(t)}
	if rows, err := Seal(t.Context(), path, store, "k"); err != nil || rows != n {
		t.Fatal(rows, err)
	}
	in, err := store.Stat(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	file := open(t, path)
	defer file.Close()
	if _, err := file.Rows(t.Context()); err != nil { // it has been followed, as by a reader that stays
		t.Fatal(err)
	}
	sealed := openSealed(t, store, "k")
	opened := store.bytes
	if opened > 64<<10 {
		t.Errorf("opening fetched %d bytes", opened)
	}
	for what, r := range map[string]Reader{"file": file, "sealed": sealed} {
		read(t, r, 5, 1) // the decoder makes its buffers
		for _, from := range []int64{0, 1, 4999, 500_000, 987_654, n - 100} {
			store.bytes, store.gets = 0, 0
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got := read(t, r, from, 100)
			runtime.ReadMemStats(&after)
			if len(got) != 100 || got[0] != text(from) || got[99] != text(from+99) {
				t.Fatalf("%s: row %d is %q", what, from, got[0])
			}
			if alloc := after.TotalAlloc - before.TotalAlloc; alloc > 2<<20 {
				t.Errorf("%s: 100 rows from %d allocated %d KiB", what, from, alloc>>10)
			}
			// 100 rows touch two frames at most; a frame is a fraction of a percent.
			if store.bytes > 2*(in.Size/(n*90/frameTarget))*2 || store.gets > 1 {
				t.Errorf("%s: 100 rows from %d fetched %d of %d bytes in %d requests", what, from, store.bytes, in.Size, store.gets)
			}
		}
	}
}

// TestPlain reads and seals what versions before the format wrote.
func TestPlain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := open(t, path)
	defer r.Close()
	if rows, err := r.Rows(t.Context()); rows != 0 || err != nil {
		t.Fatal(rows, err)
	}
	want := texts(600)
	var b strings.Builder
	for _, text := range want {
		b.WriteString(stamp + text + "\n")
	}
	if err := os.WriteFile(path, []byte(b.String()+stamp+"not yet whole"), 0o600); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want[:10], read(t, r, 0, 10)); d != "" {
		t.Errorf("the first (-want +got):\n%s", d)
	}
	if d := cmp.Diff(want[590:], read(t, r, 590, -1)); d != "" {
		t.Errorf("the last (-want +got):\n%s", d)
	}
	if rows := read(t, r, 600, -1); len(rows) > 0 {
		t.Errorf("%q", rows)
	}
	store := files(t)
	if rows, err := Seal(t.Context(), path, store, "k"); err != nil || rows != 600 {
		t.Fatal(rows, err)
	}
	if d := cmp.Diff(want, read(t, openSealed(t, store, "k"), 0, -1)); d != "" {
		t.Errorf("sealed (-want +got):\n%s", d)
	}
	if _, err := Create(path, Options{}); err == nil {
		t.Error("a plain log was continued with frames")
	}
}

// TestEmitEnds: an error of emit ends the reading and is returned.
func TestEmitEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := create(t, path, Options{Now: func() time.Time { return at }})
	w.Print("a\nb\nc")
	shut(t, w)
	store := files(t)
	if _, err := Seal(t.Context(), path, store, "k"); err != nil {
		t.Fatal(err)
	}
	file := open(t, path)
	defer file.Close()
	enough := errors.New("enough")
	for _, r := range []Reader{file, openSealed(t, store, "k")} {
		next, err := r.Read(t.Context(), 0, -1, func(row int64, _ []byte) error {
			if row == 1 {
				return enough
			}
			return nil
		})
		if next != 1 || !errors.Is(err, enough) {
			t.Errorf("%d, %v", next, err)
		}
	}
}
