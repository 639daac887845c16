package doctor

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// good is a machine where everything is in order.
func good() Machine {
	return Machine{
		Root:   true,
		Look:   func(p string) (string, error) { return "/usr/bin/" + p, nil },
		Read:   func(string) ([]byte, error) { return []byte("nodev\toverlay\n"), nil },
		Exists: func(string) bool { return true },
		Free:   func(string) (uint64, error) { return 100 << 30, nil },
		Listen: func(context.Context, string) error { return nil },
		Usable: func(string) error { return nil },
	}
}

func TestCheck(t *testing.T) {
	gone := errors.New("gone")
	for name, tc := range map[string]struct {
		change func(*Machine)
		fails  []string // names of failed checks
		fix    string   // in the first one's fix
	}{
		"all good": {func(*Machine) {}, nil, ""},
		"not root": {func(m *Machine) { m.Root = false }, []string{"root"}, "sudo"},
		"no runc, no git": {func(m *Machine) {
			look := m.Look
			m.Look = func(p string) (string, error) {
				if p == "runc" || p == "git" {
					return "", gone
				}
				return look(p)
			}
			m.Exists = func(p string) bool { return !strings.HasSuffix(p, "/runc") && !strings.HasSuffix(p, "/git") }
		}, []string{"runc", "git"}, "apt-get install -y --no-install-recommends runc git"},
		"only in sbin": {func(m *Machine) {
			m.Look = func(string) (string, error) { return "", gone }
			m.Exists = func(p string) bool { return !strings.HasPrefix(p, "/usr/bin") }
		}, nil, ""},
		"no overlay": {func(m *Machine) { m.Read = func(string) ([]byte, error) { return []byte("ext4"), nil } }, []string{"overlayfs"}, "modprobe"},
		"no cgroups": {func(m *Machine) { m.Exists = func(p string) bool { return !strings.HasPrefix(p, "/sys") } }, []string{"cgroups"}, "mount"},
		"disk full":  {func(m *Machine) { m.Free = func(string) (uint64, error) { return 1 << 20, nil } }, []string{"disk"}, "--data-dir"},
		"bad place":  {func(m *Machine) { m.Usable = func(string) error { return gone } }, []string{"data directory"}, "--data-dir"},
		"port taken": {func(m *Machine) { m.Listen = func(context.Context, string) error { return gone } }, []string{"port 127.0.0.1:7080"}, "sport = :7080"},
	} {
		t.Run(name, func(t *testing.T) {
			m := good()
			tc.change(&m)
			failed := Failed(Check(t.Context(), m, Options{DataDir: "/d", Listen: []string{"127.0.0.1:7080"}}))
			var names []string
			for _, f := range failed {
				names = append(names, f.Check)
				if f.Fix == "" || f.Detail == "" {
					t.Errorf("%s fails without saying what to do: %+v", f.Check, f)
				}
			}
			if strings.Join(names, ",") != strings.Join(tc.fails, ",") {
				t.Fatalf("failed %v, want %v", names, tc.fails)
			}
			if len(failed) > 0 && !strings.Contains(failed[0].Fix, tc.fix) {
				t.Errorf("fix %q, want %q in it", failed[0].Fix, tc.fix)
			}
		})
	}
}

func TestHost(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	m := Host()
	if err := m.Usable(filepath.Join(dir, "a", "b")); err != nil {
		t.Errorf("a place not made yet: %v", err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := m.Usable(dir); err == nil {
		t.Error("a directory that others write to was accepted")
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.Usable(file); err == nil {
		t.Error("a file was accepted as a directory")
	}
	if n, err := m.Free(filepath.Join(dir, "not", "there")); err != nil || n == 0 {
		t.Errorf("free: %d, %v", n, err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Listen(t.Context(), l.Addr().String()); err == nil {
		t.Error("a taken port counts as free")
	}
	l.Close()
	if err := m.Listen(t.Context(), l.Addr().String()); err != nil {
		t.Errorf("a free port: %v", err)
	}
}
