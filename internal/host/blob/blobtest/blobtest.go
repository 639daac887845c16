// Package blobtest tests that a blob store does what package blob promises,
// and has a stand-in for a bucket that speaks the S3 protocol.
package blobtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/blob"
)

// Run tests the store that open gives, which is empty each time. residue, when
// not nil, returns what is stored beside the blobs, such as unfinished
// uploads; it must be nothing after an upload that failed.
func Run(t *testing.T, open func(t *testing.T) (s blob.Store, residue func() []string)) {
	for _, tc := range []struct {
		name string
		test func(t *testing.T, s blob.Store, residue func() []string)
	}{
		{"Ranges", testRanges},
		{"Empty", testEmpty},
		{"Replace", testReplace},
		{"Missing", testMissing},
		{"BadKeys", testBadKeys},
		{"List", testList},
		{"Delete", testDelete},
		{"Expectations", testExpectations},
		{"Cancelled", testCancelled},
		{"BrokenSource", testBrokenSource},
		{"ConcurrentWriters", testConcurrentWriters},
		{"LargeInBoundedMemory", testLarge},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, residue := open(t)
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			tc.test(t, s, residue)
		})
	}
}

func put(t *testing.T, s blob.Store, key, content string) {
	t.Helper()
	p, err := s.Put(t.Context(), key, strings.NewReader(content), blob.Expect{})
	if err != nil {
		t.Fatal(err)
	}
	if p.Size != int64(len(content)) || p.Digest != digest([]byte(content)) {
		t.Fatalf("put %s: %+v", key, p)
	}
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func get(t *testing.T, s blob.Store, key string, offset, length int64) (string, error) {
	t.Helper()
	r, _, err := s.Get(t.Context(), key, offset, length)
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("read %s: %v", key, err)
	}
	return string(b), nil
}

func testRanges(t *testing.T, s blob.Store, _ func() []string) {
	const key, content = "logs/1/build/2.log", "0123456789"
	put(t, s, key, content)
	for _, tc := range []struct {
		offset, length int64
		want           string
		bad            bool
	}{
		{0, -1, content, false}, {0, 10, content, false}, {0, 0, "", false}, {3, 4, "3456", false}, {9, 1, "9", false},
		{9, 100, "9", false}, {10, -1, "", false}, {10, 5, "", false}, {3, 0, "", false}, {0, 1 << 60, content, false},
		{11, 1, "", true}, {-1, 5, "", true},
	} {
		got, err := get(t, s, key, tc.offset, tc.length)
		if got != tc.want || (err != nil) != tc.bad || tc.bad && !errors.Is(err, problem.ErrInvalid) {
			t.Errorf("%d bytes from %d: %q, %v", tc.length, tc.offset, got, err)
		}
	}
	in, err := s.Stat(t.Context(), key)
	if err != nil || in.Key != key || in.Size != 10 || in.ModTime.IsZero() {
		t.Errorf("stat: %+v, %v", in, err)
	}
	r, in, err := s.Get(t.Context(), key, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	if in.Size != 10 || in.Key != key {
		t.Errorf("a range says the size of the whole: %+v", in)
	}
}

func testEmpty(t *testing.T, s blob.Store, _ func() []string) {
	if p, err := s.Put(t.Context(), "e", strings.NewReader(""), blob.Expect{Empty: true}); err != nil || p.Size != 0 || p.Digest != digest(nil) {
		t.Fatalf("%+v, %v", p, err)
	}
	if got, err := get(t, s, "e", 0, -1); err != nil || got != "" {
		t.Errorf("%q, %v", got, err)
	}
	if in, err := s.Stat(t.Context(), "e"); err != nil || in.Size != 0 {
		t.Errorf("%+v, %v", in, err)
	}
	if list := keys(t, s, "", "", 10); !cmp.Equal(list, []string{"e"}) {
		t.Errorf("%v", list)
	}
}

func testReplace(t *testing.T, s blob.Store, _ func() []string) {
	put(t, s, "a/b", "first, the longer one")
	r, _, err := s.Get(t.Context(), "a/b", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	put(t, s, "a/b", "second")
	if b, err := io.ReadAll(r); err != nil || string(b) != "first, the longer one" {
		t.Errorf("a reader from before sees %q, %v", b, err)
	}
	if got, err := get(t, s, "a/b", 0, -1); err != nil || got != "second" {
		t.Errorf("%q, %v", got, err)
	}
}

func testMissing(t *testing.T, s blob.Store, _ func() []string) {
	put(t, s, "a/b", "x")
	for _, key := range []string{"c", "a", "a/b/c", "a/bb"} {
		if _, err := get(t, s, key, 0, -1); !errors.Is(err, problem.ErrNotFound) {
			t.Errorf("get %s: %v", key, err)
		}
		if _, err := s.Stat(t.Context(), key); !errors.Is(err, problem.ErrNotFound) {
			t.Errorf("stat %s: %v", key, err)
		}
		if err := s.Delete(t.Context(), key); err != nil {
			t.Errorf("delete %s: %v", key, err)
		}
	}
	if got, err := get(t, s, "a/b", 0, -1); err != nil || got != "x" {
		t.Errorf("the neighbour: %q, %v", got, err)
	}
}

// Hostile are keys that no store may take.
var Hostile = []string{
	"", "/", "a/", "/a", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a/..", ".hidden", "a/.hidden", "a\\b", "a\x00b", "a\nb",
	"a b", "é", "a?b", "a#b", "a%2e", "@a", "a:b", "~a", strings.Repeat("a", 201), strings.Repeat("a/", 300) + "a", "\xff",
}

func testBadKeys(t *testing.T, s blob.Store, residue func() []string) {
	for _, key := range Hostile {
		if _, err := s.Put(t.Context(), key, strings.NewReader("x"), blob.Expect{}); !errors.Is(err, problem.ErrInvalid) {
			t.Errorf("put %q: %v", key, err)
		}
		if _, _, err := s.Get(t.Context(), key, 0, -1); !errors.Is(err, problem.ErrInvalid) {
			t.Errorf("get %q: %v", key, err)
		}
		if _, err := s.Stat(t.Context(), key); !errors.Is(err, problem.ErrInvalid) {
			t.Errorf("stat %q: %v", key, err)
		}
		if err := s.Delete(t.Context(), key); !errors.Is(err, problem.ErrInvalid) {
			t.Errorf("delete %q: %v", key, err)
		}
	}
	if list := keys(t, s, "", "", 10); len(list) > 0 {
		t.Errorf("stored: %v", list)
	}
	nothingLeft(t, residue)
	for _, key := range []string{"a.b-c_d+e=f", "0", "A/B/C", "a..b", strings.Repeat("a", 200), "a-/b", "a=/b"} {
		put(t, s, key, key)
		if got, err := get(t, s, key, 0, -1); err != nil || got != key {
			t.Errorf("%q: %q, %v", key, got, err)
		}
	}
}

func keys(t *testing.T, s blob.Store, prefix, after string, limit int) []string {
	t.Helper()
	list, err := s.List(t.Context(), prefix, after, limit)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, in := range list {
		out = append(out, in.Key)
	}
	return out
}

func testList(t *testing.T, s blob.Store, _ func() []string) {
	all := []string{"a", "a-b", "a.b/c", "a/b", "a/b/c", "a/c", "a0", "b/1", "b/10", "b/2", "z"} // in order of bytes
	for i := range all {
		put(t, s, all[(i*7)%len(all)], "content of "+all[(i*7)%len(all)])
	}
	for _, tc := range []struct {
		prefix, after string
		limit         int
		want          []string
	}{
		{"", "", 100, all}, {"", "", 3, all[:3]}, {"", "a", 3, all[1:4]}, {"", "a/b", 2, all[4:6]}, {"", "a/bb", 100, all[5:]},
		{"a/", "", 100, all[3:6]}, {"a/b", "", 100, all[3:5]}, {"a/b/", "", 100, all[4:5]}, {"b/1", "", 100, all[7:9]},
		{"a", "", 100, all[:7]}, {"nothing", "", 100, nil}, {"", "zz", 100, nil}, {"a/", "a/c", 100, nil}, {"b/", "a", 1, all[7:8]}, {"", "", 0, nil},
	} {
		if got := keys(t, s, tc.prefix, tc.after, tc.limit); !cmp.Equal(got, tc.want) {
			t.Errorf("%d of prefix %q after %q: %v, want %v", tc.limit, tc.prefix, tc.after, got, tc.want)
		}
	}
	list, err := s.List(t.Context(), "a/b/c", "", 1)
	if err != nil || len(list) != 1 || list[0].Size != int64(len("content of a/b/c")) || list[0].ModTime.IsZero() {
		t.Errorf("%+v, %v", list, err)
	}
}

func testDelete(t *testing.T, s blob.Store, _ func() []string) {
	put(t, s, "a/b/c", "x")
	put(t, s, "a/b", "y")
	r, _, err := s.Get(t.Context(), "a/b/c", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for range 2 {
		if err := s.Delete(t.Context(), "a/b/c"); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := io.ReadAll(r); err != nil || string(b) != "x" {
		t.Errorf("a reader from before sees %q, %v", b, err)
	}
	if list := keys(t, s, "", "", 10); !cmp.Equal(list, []string{"a/b"}) {
		t.Errorf("%v", list)
	}
	put(t, s, "a/b/c", "again")
	if got, err := get(t, s, "a/b/c", 0, -1); err != nil || got != "again" {
		t.Errorf("%q, %v", got, err)
	}
}

func testExpectations(t *testing.T, s blob.Store, residue func() []string) {
	for _, tc := range []struct {
		want blob.Expect
		ok   bool
	}{
		{blob.Expect{Size: 3}, true}, {blob.Expect{Digest: digest([]byte("abc"))}, true}, {blob.Expect{Size: 3, Digest: digest([]byte("abc"))}, true},
		{blob.Expect{Size: 2}, false}, {blob.Expect{Size: 4}, false}, {blob.Expect{Empty: true}, false}, {blob.Expect{Digest: digest([]byte("abd"))}, false},
	} {
		_, err := s.Put(t.Context(), "k", strings.NewReader("abc"), tc.want)
		if (err == nil) != tc.ok || !tc.ok && !errors.Is(err, problem.ErrInvalid) {
			t.Errorf("%+v: %v", tc.want, err)
		}
		if _, err := s.Stat(t.Context(), "k"); (err == nil) != tc.ok {
			t.Errorf("%+v: stored %t: %v", tc.want, err == nil, err)
		}
		if err := s.Delete(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
	}
	// Beyond the size at which uploads are made in parts.
	if _, err := s.Put(t.Context(), "k", io.LimitReader(&pattern{}, 40<<20), blob.Expect{Digest: digest(nil)}); !errors.Is(err, problem.ErrInvalid) {
		t.Errorf("large: %v", err)
	}
	if list := keys(t, s, "", "", 10); len(list) > 0 {
		t.Errorf("stored: %v", list)
	}
	nothingLeft(t, residue)
}

// nothingLeft wants no trace of failed uploads.
func nothingLeft(t *testing.T, residue func() []string) {
	t.Helper()
	if left := residue(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// pattern is an endless source whose bytes depend on their place.
type pattern struct{ at int64 }

func (p *pattern) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte((p.at + int64(i)) * 2654435761 >> 13)
	}
	p.at += int64(len(b))
	return len(b), nil
}

// hook calls do before each read beyond the first after bytes.
type hook struct {
	r     io.Reader
	after int64
	do    func() error
}

func (h *hook) Read(b []byte) (int, error) {
	if h.after <= 0 {
		if err := h.do(); err != nil {
			return 0, err
		}
	}
	n, err := h.r.Read(b)
	h.after -= int64(n)
	return n, err
}

func testCancelled(t *testing.T, s blob.Store, residue func() []string) {
	for _, after := range []int64{0, 1 << 20, 40 << 20} {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := s.Put(ctx, "k", &hook{io.LimitReader(&pattern{}, 64<<20), after, func() error { cancel(); return nil }}, blob.Expect{})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("after %d bytes: %v", after, err)
		}
		if _, err := s.Stat(t.Context(), "k"); !errors.Is(err, problem.ErrNotFound) {
			t.Errorf("after %d bytes: stored, %v", after, err)
		}
		nothingLeft(t, residue)
	}
}

func testBrokenSource(t *testing.T, s blob.Store, residue func() []string) {
	put(t, s, "k", "what was there")
	broken := errors.New("the source broke")
	for _, after := range []int64{0, 1 << 20, 40 << 20} {
		_, err := s.Put(t.Context(), "k", &hook{io.LimitReader(&pattern{}, 64<<20), after, func() error { return broken }}, blob.Expect{})
		if !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v", after, err)
		}
		if got, err := get(t, s, "k", 0, -1); err != nil || got != "what was there" {
			t.Errorf("after %d bytes: %q, %v", after, got, err)
		}
		nothingLeft(t, residue)
	}
}

// testConcurrentWriters: one of the contents is there, whole, while and after
// several write the same key and others delete it.
func testConcurrentWriters(t *testing.T, s blob.Store, residue func() []string) {
	const writers, rounds, size = 4, 8, 100_000
	content := func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, size) }
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for range rounds {
				if _, err := s.Put(t.Context(), "dir/k", bytes.NewReader(content(i)), blob.Expect{Size: size}); err != nil {
					t.Errorf("writer %d: %v", i, err)
				}
			}
		})
	}
	stop := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() { // reads, and makes the directory come and go
		for {
			select {
			case <-stop:
				return
			default:
			}
			r, _, err := s.Get(t.Context(), "dir/k", 0, -1)
			if errors.Is(err, problem.ErrNotFound) {
				continue
			}
			if err != nil {
				t.Errorf("reader: %v", err)
				return
			}
			b, err := io.ReadAll(r)
			r.Close()
			if err != nil || len(b) != size || !bytes.Equal(b, bytes.Repeat(b[:1], size)) {
				t.Errorf("a mixture of %d bytes, %v", len(b), err)
				return
			}
			if err := s.Delete(t.Context(), "dir/k"); err != nil {
				t.Errorf("delete: %v", err)
				return
			}
		}
	})
	wg.Wait()
	close(stop)
	others.Wait()
	put(t, s, "dir/k", "the last")
	if got, err := get(t, s, "dir/k", 0, -1); err != nil || got != "the last" {
		t.Errorf("%q, %v", got, err)
	}
	nothingLeft(t, residue)
}

// testLarge puts and reads far more than may be held in memory.
func testLarge(t *testing.T, s blob.Store, _ func() []string) {
	const size, most = 64 << 20, 40 << 20
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	p, err := s.Put(t.Context(), "large", io.LimitReader(&pattern{}, size), blob.Expect{})
	if err != nil || p.Size != size {
		t.Fatal(p, err)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.LimitReader(&pattern{}, size)); err != nil {
		t.Fatal(err)
	}
	if want := "sha256:" + hex.EncodeToString(sum.Sum(nil)); p.Digest != want {
		t.Errorf("digest %s, want %s", p.Digest, want)
	}
	for _, at := range []int64{0, 5, size/2 - 1, size - 10} {
		want := make([]byte, 10)
		if _, err := (&pattern{at: at}).Read(want); err != nil {
			t.Fatal(err)
		}
		if got, err := get(t, s, "large", at, 10); err != nil || got != string(want) {
			t.Errorf("at %d: %q, %v", at, got, err)
		}
	}
	r, _, err := s.Get(t.Context(), "large", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	sum.Reset()
	if n, err := io.Copy(sum, r); err != nil || n != size || fmt.Sprintf("sha256:%x", sum.Sum(nil)) != p.Digest {
		t.Errorf("read back %d bytes, %v", n, err)
	}
	runtime.ReadMemStats(&after)
	// All that was ever allocated, not only what is held: less than the blob.
	if got := after.TotalAlloc - before.TotalAlloc; got > most {
		t.Errorf("allocated %d MiB for a blob of %d MiB", got>>20, int64(size)>>20)
	}
}
