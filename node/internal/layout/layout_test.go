package layout

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/node/internal/fault"
)

func dir(t *testing.T) Dir {
	t.Helper()
	d, err := Open(filepath.Join(t.TempDir(), "n"))
	if err != nil {
		t.Skip("the temporary directory's path is too long for sockets:", err)
	}
	return d
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestOpenRefusesLongPaths(t *testing.T) {
	if _, err := Open("/" + strings.Repeat("a", 90)); err == nil {
		t.Error("a path that is too long for sockets was accepted")
	}
	if _, err := Open("/" + strings.Repeat("a", 60)); err != nil {
		t.Error(err)
	}
}

func TestPrepare(t *testing.T) {
	d := dir(t)
	for range 2 { // the second time over what the first made
		if err := d.Prepare(); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, d.Path("layout")); got != "2\n" {
		t.Errorf("layout is %q", got)
	}
	if st, err := os.Stat(d.PKI()); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("pki: %v, %v", st, err)
	}
}

// TestStepFrom1 brings the layout before this one up to date.
func TestStepFrom1(t *testing.T) {
	d := dir(t)
	put(t, d.Path("layout"), "1\n")
	put(t, d.Path("kubelet", "pods-logs", "ns_pod_uid", "main", "0.log"), "hello")
	put(t, d.Path("pki", "scheduler.kubeconfig"), "old")
	put(t, d.Path("pki", "ca.crt"), "kept")
	put(t, d.Path("etcd", "member", "wal", "0.wal"), "kept")
	// Interrupted after the work and before the version: the step runs again.
	if err := steps[0](d); err != nil {
		t.Fatal(err)
	}
	if err := d.Prepare(); err != nil {
		t.Fatal(err)
	}
	if got := read(t, filepath.Join(d.PodLogs(), "ns_pod_uid", "main", "0.log")); got != "hello" {
		t.Errorf("the log is %q", got)
	}
	if _, err := os.Stat(d.Path("pki", "scheduler.kubeconfig")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old kubeconfig is still there: %v", err)
	}
	for _, f := range []string{d.Path("pki", "ca.crt"), d.Path("etcd", "member", "wal", "0.wal")} {
		if got := read(t, f); got != "kept" {
			t.Errorf("%s is %q", f, got)
		}
	}
	if got := read(t, d.Path("layout")); got != "2\n" {
		t.Errorf("layout is %q", got)
	}
}

func TestPrepareRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		files map[string]string
		want  string
	}{
		"newer":         {map[string]string{"layout": "3\n"}, "has layout 3"},
		"no number":     {map[string]string{"layout": "two"}, "is not a number"},
		"zero":          {map[string]string{"layout": "0"}, "is not a number"},
		"foreign":       {map[string]string{"thesis.tex": "x"}, `holds "thesis.tex"`},
		"version lost":  {map[string]string{"etcd/member/wal/0.wal": "x"}, `holds "etcd"`},
		"empty version": {map[string]string{"layout": ""}, "is not a number"},
	} {
		t.Run(name, func(t *testing.T) {
			d := dir(t)
			for f, text := range tc.files {
				put(t, d.Path(f), text)
			}
			err := d.Prepare()
			if err == nil || !strings.Contains(err.Error(), tc.want) || fault.Hint(err) == "" {
				t.Fatalf("got %v, want a refusal with %q and a hint", err, tc.want)
			}
			for f, text := range tc.files {
				if got := read(t, d.Path(f)); got != text {
					t.Errorf("%s was changed to %q", f, got)
				}
			}
		})
	}
}

// TestPrepareRepairs takes over what an interrupted first start left.
func TestPrepareRepairs(t *testing.T) {
	d := dir(t)
	put(t, d.Path("lock"), "123\n")
	put(t, d.Path(".layout.1.tmp"), "2")
	if err := d.Prepare(); err != nil {
		t.Fatal(err)
	}
	put(t, d.Path("pki", ".ca.crt.9.tmp"), "half")
	if err := d.Prepare(); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{d.Path(".layout.1.tmp"), d.Path("pki", ".ca.crt.9.tmp")} {
		if _, err := os.Stat(f); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", f, err)
		}
	}
}

func TestLock(t *testing.T) {
	d := dir(t)
	if err := os.MkdirAll(string(d), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := d.Holder(); got != 0 {
		t.Errorf("nobody holds it, but Holder says %d", got)
	}
	l, err := d.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := d.Holder(); got != os.Getpid() {
		t.Errorf("holder is %d, want %d", got, os.Getpid())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := d.Acquire(ctx); !errors.Is(err, ErrLocked) || fault.Hint(err) == "" {
		t.Errorf("got %v, want ErrLocked with a hint", err)
	}
	time.AfterFunc(50*time.Millisecond, l.Release)
	again, err := d.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	again.Release()
}

func TestWriteFileKeepsTheOldOnError(t *testing.T) {
	f := filepath.Join(t.TempDir(), "f")
	if err := WriteFile(f, []byte("one"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(f, "below-a-file"), nil, 0o600); err == nil {
		t.Error("writing below a file succeeded")
	}
	if got := read(t, f); got != "one" {
		t.Errorf("got %q", got)
	}
	if st, _ := os.Stat(f); st.Mode().Perm() != 0o640 {
		t.Errorf("mode %o", st.Mode().Perm())
	}
}
