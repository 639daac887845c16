package logstore

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// writerMode makes this test binary write rows into the file it names until
// it is killed.
const writerMode = "LOGSTORE_TEST_WRITER"

func TestMain(m *testing.M) {
	path := os.Getenv(writerMode)
	if path == "" {
		os.Exit(m.Run())
	}
	w, err := Create(path, Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for i := w.first; ; i++ {
		w.Print(fmt.Sprintf("row %d %s", i, strings.Repeat("x", int(i%300))))
		if i%1000 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// TestKilledWriter kills writers of one log, one after another, while it is
// read: what a reader has seen stays, and the rows have no gap.
func TestKilledWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	r := (*file)(nil)
	seen := int64(0)
	for round := range 4 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), writerMode+"="+path)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		goal := seen + 5000
		for deadline := time.Now().Add(time.Minute); seen < goal; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("round %d: %d rows, want %d", round, seen, goal)
			}
			if r == nil {
				o, err := OpenFile(path)
				if errors.Is(err, os.ErrNotExist) {
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				r = o.(*file)
				defer r.Close()
			}
			n, err := r.Rows(t.Context())
			if err != nil || n < seen {
				t.Fatalf("round %d: %d rows after %d, %v", round, n, seen, err)
			}
			seen = n
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		// The file ends in the middle of a frame, as after a kill during a write.
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if seen, err = r.Rows(t.Context()); err != nil {
			t.Fatal(err)
		}
		if extra := fi.Size() - r.end; extra == 0 {
			appendBytes(t, path, header{first: uint64(seen), rows: 1, raw: 100, stored: 1000}.appendTo(nil))
		}
	}
	w := create(t, path, Options{})
	w.Print("the end")
	shut(t, w)
	fresh := open(t, path)
	defer fresh.Close()
	for _, reader := range []Reader{r, fresh} {
		last := int64(-1)
		next, err := reader.Read(t.Context(), 0, -1, func(row int64, text []byte) error {
			last++
			_, rest, _ := strings.Cut(string(text), " ")
			if want := fmt.Sprintf("row %d %s", row, strings.Repeat("x", int(row%300))); row != last || rest != want && rest != "the end" {
				return fmt.Errorf("row %d is %q", row, rest)
			}
			return nil
		})
		if err != nil || next != seen+1 {
			t.Errorf("%d rows, want %d: %v", next, seen+1, err)
		}
	}
}

func appendBytes(t *testing.T, path string, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	shut(t, f)
}

// small is the content of a log of three frames, and how many rows are whole
// in each beginning of it.
func small(t testing.TB) (content []byte, whole func(size int) int) {
	t.Helper()
	var ends []int
	row := 0
	for _, text := range []string{"a\nb\n", "c\n", "d\ne\nf\n"} {
		n := strings.Count(text, "\n")
		text = stamp + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n"+stamp) + "\n"
		var err error
		if content, err = appendFrame(content, uint64(row), n, []byte(text)); err != nil {
			t.Fatal(err)
		}
		row += n
		ends = append(ends, len(content))
	}
	rows := []int{0, 2, 3, 6}
	return content, func(size int) int {
		i, exact := slices.BinarySearch(ends, size)
		if exact {
			i++
		}
		return rows[i]
	}
}

// TestTorn cuts a log at every byte: the whole frames are read, and writing
// goes on behind them.
func TestTorn(t *testing.T) {
	content, whole := small(t)
	all := []string{"a", "b", "c", "d", "e", "f"}
	path := filepath.Join(t.TempDir(), "log")
	for size := range len(content) + 1 {
		if err := os.WriteFile(path, content[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		r := open(t, path)
		want := all[:whole(size)]
		if d := cmp.Diff(want, append([]string{}, read(t, r, 0, -1)...)); d != "" {
			t.Fatalf("%d bytes (-want +got):\n%s", size, d)
		}
		w := create(t, path, Options{Now: func() time.Time { return at }})
		w.Print("new")
		shut(t, w)
		if d := cmp.Diff(append(slices.Clone(want), "new"), read(t, r, 0, -1)); d != "" {
			t.Fatalf("%d bytes, continued (-want +got):\n%s", size, d)
		}
		r.Close()
	}
}

// TestDamaged changes every byte of a log: what is before the damage is read,
// the reader says that there is some, and a sealed log has a row about it.
func TestDamaged(t *testing.T) {
	content, whole := small(t)
	all := []string{"a", "b", "c", "d", "e", "f"}
	dir := t.TempDir()
	store := files(t)
	path := filepath.Join(dir, "log")
	for i := range content {
		b := slices.Clone(content)
		b[i] ^= 0x21
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		want := all[:whole(i)]
		r := open(t, path)
		var got []string
		_, err := r.Read(t.Context(), 0, -1, func(_ int64, text []byte) error {
			got = append(got, strings.TrimPrefix(string(text), stamp))
			return nil
		})
		r.Close()
		if d := cmp.Diff(want, append([]string{}, got...)); d != "" || !errors.Is(err, ErrCorrupt) {
			t.Fatalf("byte %d: %v (-want +got):\n%s", i, err, d)
		}
		if i%16 != 0 {
			continue
		}
		if _, err := Seal(t.Context(), path, store, "k"); err != nil {
			t.Fatal(err)
		}
		rows := int64(0)
		_, err = openSealed(t, store, "k").Read(t.Context(), 0, -1, func(row int64, text []byte) error {
			rows++
			if row == int64(len(want)) && !strings.Contains(string(text), "##[warning]What follows cannot be shown") {
				t.Errorf("byte %d: row %d is %q", i, row, text)
			}
			return nil
		})
		if err != nil || rows != int64(len(want)+1) {
			t.Errorf("byte %d: %d rows sealed, %v", i, rows, err)
		}
	}
}
