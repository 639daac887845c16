package jobdir_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/penstock-dev/penstock/internal/ci/jobdir"
)

func TestJournal(t *testing.T) {
	dir := jobdir.Dir(t.TempDir())
	if entries, next, err := dir.ReadJournal(0); err != nil || len(entries) != 0 || next != 0 {
		t.Errorf("no journal: %v, %d, %v", entries, next, err)
	}
	w, err := dir.OpenJournal()
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 8, 1, 2, 3, 4, 5, time.UTC)
	want := []jobdir.Entry{
		{Type: jobdir.JobStarted, At: at, Names: []string{"a", "b"}},
		{Type: jobdir.StepStarted, At: at, Step: 1, Name: strings.Repeat("long ", 5000)},
		{Type: jobdir.JobFinished, At: at, Conclusion: "success", Outputs: map[string]string{"a": "1\n2"}},
	}
	var offset int64
	var got []jobdir.Entry
	for _, e := range want {
		if err := w.Append(e); err != nil {
			t.Fatal(err)
		}
		entries, next, err := dir.ReadJournal(offset)
		if err != nil || next <= offset {
			t.Fatal(next, err)
		}
		got, offset = append(got, entries...), next
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("read in pieces (-want +got):\n%s", d)
	}
	if e, ok := jobdir.Terminal(got); !ok || e.Conclusion != "success" {
		t.Errorf("terminal: %+v, %v", e, ok)
	}
	if _, err := dir.OpenJournal(); err == nil {
		t.Error("a journal with entries was opened again")
	}
}

// TestTornJournal: a line that was not written to its end is not read yet.
func TestTornJournal(t *testing.T) {
	dir := jobdir.Dir(t.TempDir())
	whole := `{"type":"job_started","at":"2026-08-01T00:00:00Z"}` + "\n"
	for _, tc := range []struct {
		tail string
		ok   bool
	}{{"", true}, {`{"type":"st`, true}, {"\x00\x00\n", false}} {
		if err := os.WriteFile(dir.Journal(), []byte(whole+tc.tail), 0o600); err != nil {
			t.Fatal(err)
		}
		entries, next, err := dir.ReadJournal(0)
		if len(entries) != 1 || next != int64(len(whole)) || (err == nil) != tc.ok {
			t.Errorf("%q: %d entries, offset %d, %v", tc.tail, len(entries), next, err)
		}
	}
}

func TestLockIsInheritedAndSeen(t *testing.T) {
	dir := jobdir.Dir(filepath.Join(t.TempDir(), "job"))
	if alive, err := dir.Alive(); alive || err != nil {
		t.Errorf("before: %v, %v", alive, err)
	}
	lock, err := dir.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dir.Lock(); !errors.Is(err, jobdir.ErrLocked) {
		t.Errorf("second lock: %v", err)
	}
	// A copy of the descriptor, as a child has one, keeps the lock.
	fd, err := unix.Dup(int(lock.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if alive, err := dir.Alive(); !alive || err != nil {
		t.Errorf("held by a copy: %v, %v", alive, err)
	}
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
	if alive, err := dir.Alive(); alive || err != nil {
		t.Errorf("after: %v, %v", alive, err)
	}
}

func TestSecretsAreReadOnce(t *testing.T) {
	dir := jobdir.Dir(t.TempDir())
	if err := dir.Prepare(jobdir.Spec{JobID: "1-a"}, jobdir.Secrets{Token: "t"}); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(filepath.Join(string(dir), "secrets.json"))
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi, err)
	}
	spec, secrets, err := dir.Load()
	if err != nil || spec.JobID != "1-a" || secrets.Token != "t" {
		t.Errorf("%+v, %+v, %v", spec, secrets, err)
	}
	if _, _, err := dir.Load(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("second time: %v", err)
	}
}

func FuzzReadJournal(f *testing.F) {
	f.Add([]byte(`{"type":"job_started"}` + "\n" + `{"type":"x`))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := jobdir.Dir(t.TempDir())
		if err := os.WriteFile(dir.Journal(), b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, next, _ := dir.ReadJournal(0)
		if next < 0 || next > int64(len(b)) {
			t.Errorf("offset %d of %d", next, len(b))
		}
	})
}
