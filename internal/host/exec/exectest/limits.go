//go:build linux

package exectest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock-dev/penstock/internal/host/exec"
)

func memoryLimit(t *testing.T, rt exec.Runtime) {
	s := Open(t, rt, func(spec *exec.SessionSpec) { spec.Limits.MemoryBytes = 96 << 20 })
	if out, code := Sh(t, s, "dd if=/dev/zero of=/dev/null bs=400M count=1; exit $?"); code != 137 {
		t.Errorf("exit code %d, want 137: %s", code, out)
	}
	if out := Must(t, s, "dd if=/dev/zero of=/dev/null bs=40M count=1 2>/dev/null; echo alive"); out != "alive\n" {
		t.Error("the session did not survive")
	}
}

func processLimit(t *testing.T, rt exec.Runtime) {
	s := Open(t, rt, func(spec *exec.SessionSpec) { spec.Limits.Processes = 32 })
	mark := newMark()
	if out, code := Sh(t, s, "for i in $(seq 60); do sleep "+mark+" & done; wait"); code == 0 {
		t.Errorf("sixty processes are allowed: %s", out)
	}
	const ours = 16 // what a runtime may need for itself counts too
	if n := marked(t, mark); n > 32+ours {
		t.Errorf("%d processes run", n)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if n := marked(t, mark); n != 0 {
		t.Errorf("%d processes are left", n)
	}
	// Every process makes two more.
	bomb := Open(t, rt, func(spec *exec.SessionSpec) { spec.Limits.Processes = 32 })
	Sh(t, bomb, `timeout 2 sh -c 'b() { b | b & }; b; sleep 1' >/dev/null 2>&1`)
	if err := bomb.Close(); err != nil {
		t.Error(err)
	}
}

func cpuLimit(t *testing.T, rt exec.Runtime) {
	s := Open(t, rt, func(spec *exec.SessionSpec) { spec.Limits.CPUs = 0.25 })
	start := time.Now()
	out := Must(t, s, `sh -c "timeout 2 sh -c 'while :; do :; done'; times" 2>/dev/null | tail -n 1`)
	var user, system float64
	f := strings.Fields(strings.NewReplacer("m", " ", "s", " ").Replace(out))
	if len(f) < 4 {
		t.Fatalf("times says %q", out)
	}
	if _, err := fmt.Sscan(f[1]+" "+f[3], &user, &system); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	if most := 0.25*time.Since(start).Seconds() + 0.4; user+system > most {
		t.Errorf("a quarter of a CPU took %.2f s, want at most %.2f", user+system, most)
	}
}

func mounts(t *testing.T, rt exec.Runtime) {
	ro, rw, other := t.TempDir(), t.TempDir(), t.TempDir()
	file := filepath.Join(t.TempDir(), "one-file")
	for _, p := range []string{ro + "/f", rw + "/f", other + "/f", file} {
		if err := os.WriteFile(p, []byte("content\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{other, other + "/f"} {
		if err := os.Chown(p, 4321, 4321); err != nil {
			t.Fatal(err)
		}
	}
	s := Open(t, rt, func(spec *exec.SessionSpec) {
		spec.Mounts = []exec.Mount{
			{Source: ro, Target: ro, ReadOnly: true},
			{Source: rw, Target: "/made/elsewhere/deep"},
			{Source: other, Target: "/run/other"},
			{Source: file, Target: "/etc/one-file", ReadOnly: true},
		}
	})
	Must(t, s, "cat "+ro+"/f /made/elsewhere/deep/f /run/other/f /etc/one-file >/dev/null")
	for _, script := range []string{"echo x > RO/g", "echo x > RO/f", "rm RO/f", "chmod 777 RO/f", "echo x > /etc/one-file"} {
		if out, code := Sh(t, s, strings.ReplaceAll(script, "RO", ro)); code == 0 {
			t.Errorf("%s: a read-only mount can be written: %s", script, out)
		}
	}
	Must(t, s, "echo more > /made/elsewhere/deep/g; echo more > /run/other/g; chmod 4755 /run/other/g")
	for p, want := range map[string]uint32{rw + "/g": 0, other + "/g": 4321} {
		var st unix.Stat_t
		if err := unix.Stat(p, &st); err != nil {
			t.Fatal(err)
		}
		if st.Uid != want || st.Gid != want {
			t.Errorf("%s belongs to %d:%d outside, want %d", p, st.Uid, st.Gid, want)
		}
	}
	if out := Must(t, s, "grep ' /run/other ' /proc/self/mounts"); !strings.Contains(out, "nosuid") || !strings.Contains(out, "nodev") {
		t.Errorf("mounted with %s", out)
	}
}
