package secret

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/store"
	"github.com/penstock-dev/penstock/internal/host/store/storetest"
)

func TestOnPostgres(t *testing.T) { storetest.Again(t, "^Test(Vault|Concurrent|Rows|Keys|Rotat)") }

func openDB(t *testing.T, dir string) *store.DB {
	t.Helper()
	where, err := storetest.Where(dir)
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.Context(), where)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// house is a vault with its store and its key file in one directory.
type house struct {
	*FileVault
	dir string
}

func newHouse(t *testing.T) house {
	t.Helper()
	dir := t.TempDir()
	db := openDB(t, dir)
	v, err := OpenFile(t.Context(), db, filepath.Join(dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	return house{v, dir}
}

func (h house) again(t *testing.T) (house, error) {
	t.Helper()
	v, err := OpenFile(t.Context(), h.db, h.path)
	return house{v, h.dir}, err
}

func (h house) set(t *testing.T, n Name, text string) Info {
	t.Helper()
	in, err := h.Set(t.Context(), n, NewValue([]byte(text)))
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func (h house) get(t *testing.T, n Name, version int64) string {
	t.Helper()
	v, in, err := h.Get(t.Context(), n, version)
	if err != nil {
		t.Fatal(err)
	}
	if version != 0 && in.Version != version || in.Name != n || in.At.IsZero() {
		t.Errorf("version %d of %s: %+v", version, n, in)
	}
	return string(v.Reveal())
}

func name(s string) Name { return Name{"ci", "demo/shop", s} }

func TestVault(t *testing.T) {
	h := newHouse(t)
	for i, text := range []string{"one", "", "three \x00\xff", strings.Repeat("x", maxValue)} {
		if in := h.set(t, name("A"), text); in.Version != int64(i+1) {
			t.Errorf("%+v", in)
		}
		if got := h.get(t, name("A"), 0); got != text {
			t.Errorf("%q, want %q", got, text)
		}
	}
	if got := h.get(t, name("A"), 1); got != "one" {
		t.Errorf("version 1 is %q", got)
	}
	h.set(t, name("B"), "b")
	h.set(t, Name{"ci", "demo/other", "C"}, "c")
	h.set(t, Name{"git", "", "mirror/demo/shop"}, "d")
	for _, tc := range []struct {
		room, scope, after string
		limit              int
		want               string
	}{
		{"ci", "demo/shop", "", 10, "A4 B1"}, {"ci", "demo/shop", "", 1, "A4"}, {"ci", "demo/shop", "A", 10, "B1"}, {"ci", "", "", 10, ""}, {"git", "", "", 10, "mirror/demo/shop1"},
	} {
		list, err := h.List(t.Context(), tc.room, tc.scope, tc.after, tc.limit)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, in := range list {
			got = append(got, fmt.Sprint(in.Name.Name, in.Version))
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
	for range keepVersions {
		h.set(t, name("A"), "later")
	}
	if _, _, err := h.Get(t.Context(), name("A"), 4); !errors.Is(err, problem.ErrNotFound) {
		t.Errorf("an old version is kept for ever: %v", err)
	}
	h.get(t, name("A"), 5)
	if err := h.Delete(t.Context(), name("A")); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{h.Delete(t.Context(), name("A")), third(h.Get(t.Context(), name("A"), 0)), third(h.Get(t.Context(), name("B"), 2)), third(h.Get(t.Context(), name("A"), 5))} {
		if !errors.Is(err, problem.ErrNotFound) {
			t.Error(err)
		}
	}
	if got := h.get(t, name("B"), 0); got != "b" {
		t.Errorf("the neighbour is %q", got)
	}
	for _, n := range []Name{{}, {"ci", "x", ""}, {"", "x", "y"}, {"ci", "x\n", "y"}, {"ci", "x", "y\x00"}, {"ci", "x", "\xff"}, {"ci", "x", strings.Repeat("n", maxName+1)}} {
		if _, err := h.Set(t.Context(), n, Value{}); !errors.Is(err, problem.ErrInvalid) {
			t.Errorf("%q: %v", n, err)
		}
	}
	if _, err := h.Set(t.Context(), name("L"), NewValue(make([]byte, maxValue+1))); !errors.Is(err, problem.ErrInvalid) {
		t.Error(err)
	}
}

func third[A, B any](_ A, _ B, err error) error { return err }

// TestConcurrentSets: each gets a version of its own.
func TestConcurrentSets(t *testing.T) {
	h := newHouse(t)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 2 {
				in, err := h.Set(t.Context(), name("A"), NewValue(fmt.Append(nil, i)))
				if err != nil {
					t.Error(err)
					return
				}
				if v, _, err := h.Get(t.Context(), name("A"), in.Version); err != nil || string(v.Reveal()) != fmt.Sprint(i) {
					t.Errorf("version %d: %q, %v", in.Version, v.Reveal(), err)
				}
			}
		})
	}
	wg.Wait()
	if list, err := h.List(t.Context(), "ci", "demo/shop", "", 10); err != nil || len(list) != 1 || list[0].Version != 8 {
		t.Errorf("%+v, %v", list, err)
	}
}

func (h house) exec(t *testing.T, query string, args ...any) {
	t.Helper()
	err := h.db.Write(t.Context(), func(tx store.Tx) error {
		_, err := tx.ExecContext(t.Context(), query, args...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

type row struct{ wrapped, sealed []byte }

func (h house) row(t *testing.T, n Name, version int64) (r row) {
	t.Helper()
	err := h.db.Read(t.Context(), func(q store.Queryer) error {
		return q.QueryRowContext(t.Context(), `SELECT wrapped, sealed FROM secrets WHERE room = ? AND scope = ? AND name = ? AND version = ?`, n.Room, n.Scope, n.Name, version).Scan(&r.wrapped, &r.sealed)
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (h house) put(t *testing.T, n Name, version int64, r row) {
	t.Helper()
	h.exec(t, `UPDATE secrets SET wrapped = ?, sealed = ? WHERE room = ? AND scope = ? AND name = ? AND version = ?`, r.wrapped, r.sealed, n.Room, n.Scope, n.Name, version)
}

// TestRowsAreBound: who can write the table cannot make one secret another,
// or an old version the new one, nor change a bit.
func TestRowsAreBound(t *testing.T) {
	h := newHouse(t)
	a, b := name("A"), Name{"ci", "demo/othe", "rA"}
	h.set(t, a, "first")
	h.set(t, a, "second")
	h.set(t, b, "another")
	own := h.row(t, a, 2)
	if h.get(t, a, 2) != "second" {
		t.Fatal("not what was set")
	}
	var changed []row
	for _, other := range []row{h.row(t, a, 1), h.row(t, b, 1)} {
		changed = append(changed, other, row{own.wrapped, other.sealed}, row{other.wrapped, own.sealed})
	}
	for _, which := range []bool{true, false} {
		for i := range len(map[bool][]byte{true: own.wrapped, false: own.sealed}[which]) {
			r := row{bytes.Clone(own.wrapped), bytes.Clone(own.sealed)}
			if which {
				r.wrapped[i] ^= 1
			} else {
				r.sealed[i] ^= 1
			}
			changed = append(changed, r)
		}
	}
	changed = append(changed, row{own.wrapped[:10], own.sealed}, row{own.wrapped, own.sealed[:10]}, row{[]byte{}, []byte{}})
	for i, r := range changed {
		h.put(t, a, 2, r)
		if v, _, err := h.Get(t.Context(), a, 2); !errors.Is(err, errChanged) || len(v.Reveal()) > 0 {
			t.Errorf("change %d: %q, %v", i, v.Reveal(), err)
		}
	}
	h.put(t, a, 2, own)
	h.get(t, a, 2)
}

// TestCanary looks for a secret, and for the master key, wherever something is
// written: the files of the store, logs, errors, encodings.
func TestCanary(t *testing.T) {
	const canary = "canary-7b1d0c4e"
	h := newHouse(t)
	var out bytes.Buffer
	note := func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) }
	for i := range 3 {
		h.set(t, name("A"), fmt.Sprint(canary, i))
	}
	v, in, err := h.Get(t.Context(), name("A"), 0)
	if err != nil || string(v.Reveal()) != canary+"2" {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
		note(verb+" "+verb+" "+verb, v, &v, struct{ V Value }{v})
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("a secret", "value", v, "inside", map[string]any{"v": v}, "info", in)
	}
	for _, x := range []any{v, &v, struct{ V Value }{v}, map[string]Value{"v": v}} {
		b, err := json.Marshal(x)
		note("%s %v", b, err)
		if err == nil {
			t.Errorf("%T was encoded: %s", x, b)
		}
	}
	_, err = h.Set(t.Context(), name("L"), NewValue(bytes.Repeat([]byte(canary), maxValue/10)))
	note("%v", err)
	h.exec(t, `UPDATE secrets SET sealed = ? WHERE version = 3`, []byte("0123456789012345678901234567890"))
	note("%v", third(h.Get(t.Context(), name("A"), 0)))
	if err := h.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	keys, err := os.ReadFile(h.path)
	if err != nil {
		t.Fatal(err)
	}
	_, key, _ := strings.Cut(strings.TrimSpace(string(keys)), keyWord+" ")
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil || len(raw) != keySize {
		t.Fatalf("%q: %v", key, err)
	}
	_, err = ParseKeys([]byte(keyWord + " " + key[:20] + "\n"))
	note("%v", err)
	_, err = ParseKeys(append(keys, keys...))
	note("%v", err)
	searched := 0
	look := func(where string, b []byte) {
		searched += len(b)
		for what, needle := range map[string]string{
			"the secret": canary, "it in base64": base64.StdEncoding.EncodeToString([]byte(canary))[:18], "it in hex": hex.EncodeToString([]byte(canary)),
			"it as numbers": strings.Trim(fmt.Sprintf("%d", []byte(canary)), "[]"),
			"the key":       string(raw), "the key in base64": key[:40], "the key in hex": hex.EncodeToString(raw),
		} {
			if bytes.Contains(b, []byte(needle)) {
				t.Errorf("%s holds %s", where, what)
			}
		}
	}
	look("what was printed", out.Bytes())
	files, err := filepath.Glob(filepath.Join(h.dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f == h.path {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		look(filepath.Base(f), b)
	}
	if searched < 10_000 {
		t.Errorf("searched %d bytes only", searched)
	}
	if n := strings.Count(out.String(), "***"); n < 20 {
		t.Errorf("%d times *** in:\n%s", n, out.String())
	}
}

// TestKeysLost: what a user sees when the key file is gone, another, open to
// others or damaged. Nothing is made anew while there are secrets.
func TestKeysLost(t *testing.T) {
	h := newHouse(t)
	if fi, err := os.Stat(h.path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", fi, err)
	}
	good, err := os.ReadFile(h.path)
	if err != nil {
		t.Fatal(err)
	}
	if same, err := h.again(t); err != nil || same.ring.keys[0].id != h.ring.keys[0].id {
		t.Fatalf("the second opening: %v", err)
	}
	h.set(t, name("A"), "a")
	for what, tc := range map[string]struct {
		do   func()
		want string
		hint string
		is   error
	}{
		"gone":    {func() { os.Remove(h.path) }, "is gone", "from a copy", ErrNoKey},
		"another": {func() { write(t, h.path, formatKeys([]masterKey{newMasterKey(newKey())})) }, "were sealed with key " + h.ring.keys[0].id, "from a copy", ErrNoKey},
		"open":    {func() { os.Chmod(h.path, 0o640) }, "others may read it", "chmod 600", nil},
		"empty":   {func() { write(t, h.path, nil) }, "there is no key", "", problem.ErrInvalid},
		"damaged": {func() { write(t, h.path, good[:len(good)-5]) }, "is not", "", problem.ErrInvalid},
		"large":   {func() { write(t, h.path, bytes.Repeat([]byte("#\n"), maxKeyFile)) }, "larger", "", problem.ErrInvalid},
	} {
		tc.do()
		_, err := h.again(t)
		hint := ""
		if p, ok := errors.AsType[*problem.Error](err); ok {
			hint = p.Hint
		}
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(hint, tc.hint) || tc.is != nil && !errors.Is(err, tc.is) {
			t.Errorf("%s: %v (hint %q)", what, err, hint)
		}
		if what == "gone" {
			if _, err := os.Stat(h.path); err == nil {
				t.Error("a new key file was made")
			}
		}
		write(t, h.path, good)
	}
	if back, err := h.again(t); err != nil || back.get(t, name("A"), 0) != "a" {
		t.Errorf("with the file put back: %v", err)
	}
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	os.Remove(path)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func FuzzParseKeys(f *testing.F) {
	f.Add(formatKeys([]masterKey{newMasterKey(bytes.Repeat([]byte("k"), keySize)), newMasterKey(bytes.Repeat([]byte("l"), keySize))}))
	f.Add([]byte(keyWord + " x\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseKeys(b)
		if err != nil {
			if !errors.Is(err, problem.ErrInvalid) {
				t.Error(err)
			}
			return
		}
		again, err := ParseKeys(formatKeys(r.keys))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(r.keys, again.keys, cmp.AllowUnexported(masterKey{})); d != "" {
			t.Error(d)
		}
		ctx := context.Background()
		wrapped, id, err := r.Wrap(ctx, []byte("data"), []byte("about"))
		if err != nil {
			t.Fatal(err)
		}
		if key, err := again.Unwrap(ctx, wrapped, id, []byte("about")); err != nil || string(key) != "data" {
			t.Errorf("%q, %v", key, err)
		}
	})
}
