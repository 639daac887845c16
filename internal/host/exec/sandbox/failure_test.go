//go:build linux

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"go.uber.org/goleak"

	"github.com/penstock-dev/penstock/internal/base/problem"
	hostexec "github.com/penstock-dev/penstock/internal/host/exec"
)

// fakeRunc puts a program called runc before the real one.
func fakeRunc(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "runc"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// What fails on the way leaves nothing, and says why.
func TestOpenFails(t *testing.T) {
	for name, tc := range map[string]struct {
		prepare func(t *testing.T, spec *hostexec.SessionSpec) context.Context
		want    string
	}{
		"runc fails": {func(t *testing.T, _ *hostexec.SessionSpec) context.Context {
			fakeRunc(t, "echo no container today >&2; exit 1")
			return t.Context()
		}, "no container today"},
		"runc hangs": {func(t *testing.T, _ *hostexec.SessionSpec) context.Context {
			fakeRunc(t, "exec sleep 1000")
			ctx, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
			t.Cleanup(stop)
			return ctx
		}, "start container"},
		"runc makes nothing": {func(t *testing.T, _ *hostexec.SessionSpec) context.Context {
			fakeRunc(t, "exit 0")
			return t.Context()
		}, "pid"},
		"a directory over a file": {func(t *testing.T, spec *hostexec.SessionSpec) context.Context {
			spec.Mounts = []hostexec.Mount{{Source: t.TempDir(), Target: "/etc/passwd"}}
			return t.Context()
		}, "/etc/passwd"},
		"a mount below a file": {func(t *testing.T, spec *hostexec.SessionSpec) context.Context {
			spec.Mounts = []hostexec.Mount{{Source: t.TempDir(), Target: "/etc/passwd/below"}}
			return t.Context()
		}, "/etc/passwd"},
		"a port that is taken": {func(t *testing.T, spec *hostexec.SessionSpec) context.Context {
			spec.Forward = map[string]string{"127.0.0.1:53": "127.0.0.1:1"} // the relay for names has it
			return t.Context()
		}, "in use"},
	} {
		t.Run(name, func(t *testing.T) {
			r := testRuntime(t, t.TempDir())
			defer r.Close()
			spec := hostexec.SessionSpec{ID: "fails", Workspace: t.TempDir()}
			ctx := tc.prepare(t, &spec)
			s, err := r.Open(ctx, spec)
			if err == nil {
				s.Close()
				t.Fatal("it opens")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %q, want something about %q", err, tc.want)
			}
			var p *problem.Error
			if !errors.As(err, &p) || p.Hint == "" {
				t.Errorf("no hint: %v", err)
			}
			if left := traces(t, r, &session{r: r, id: "fails"}); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestManySessions(t *testing.T) {
	before := goleak.IgnoreCurrent() // connections that other tests keep
	r := testRuntime(t, t.TempDir())
	defer func() {
		r.Close()
		// The test's own goroutines aside, everything has ended.
		goleak.VerifyNone(t, before, goleak.IgnoreTopFunction("testing.(*T).Run"), goleak.IgnoreTopFunction("testing.(*T).Parallel"))
	}()
	var mu sync.Mutex
	addresses := map[string]bool{}
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			for j := range 2 {
				s, err := r.Open(t.Context(), hostexec.SessionSpec{ID: fmt.Sprintf("many-%d-%d", i, j), Workspace: t.TempDir()})
				if err != nil {
					t.Error(err)
					return
				}
				var out strings.Builder
				code, err := s.Run(t.Context(), hostexec.Command{Args: []string{"sh", "-c", "hostname; cat /proc/self/uid_map"}, Env: s.Env(), Stdout: &out})
				if err != nil || code != 0 || !strings.HasPrefix(out.String(), fmt.Sprintf("many-%d-%d\n", i, j)) {
					t.Errorf("code %d, %v, output %q", code, err, out.String())
				}
				mu.Lock()
				key := s.(*session).slot.interfaceName() + strings.Fields(out.String())[2]
				if addresses[key] {
					t.Errorf("two sessions at a time have %s", key)
				}
				addresses[key] = true
				mu.Unlock()
				mu.Lock() // released before the slot is, so nobody else has it yet
				delete(addresses, key)
				mu.Unlock()
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// TestHelperNotRoot is run as another user by TestNotRoot.
func TestHelperNotRoot(t *testing.T) {
	if os.Getenv("SANDBOX_TEST_NOT_ROOT") == "" {
		t.Skip("only run by TestNotRoot")
	}
	_, err := New(Options{Dir: "/var/tmp/never"})
	problem.Print(os.Stdout, err)
}

func TestNotRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to become somebody else")
	}
	exe := filepath.Join("/var/tmp", fmt.Sprintf("penstock-test-%d", os.Getpid()))
	data, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(exe, data, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(exe)
	cmd := exec.Command(exe, "-test.run=^TestHelperNotRoot$")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "SANDBOX_TEST_NOT_ROOT=1", "TMPDIR=/tmp")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "does not run as root") || !strings.Contains(string(out), "hint: run it with sudo") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestCheck(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("sandboxes need root")
	}
	for _, f := range Check(t.TempDir()) {
		if !f.OK {
			t.Errorf("%s: %v", f.Name, f.Err)
		}
		if f.Hint == "" {
			t.Errorf("%s has no hint", f.Name)
		}
	}
	failed := func(findings []Finding, name string) bool {
		return slices.ContainsFunc(findings, func(f Finding) bool { return f.Name == name && !f.OK && f.Err != nil })
	}
	// /proc cannot map ids and holds no overlay.
	if err := checkIDMap("/proc"); err == nil {
		t.Error("/proc can be mounted with mapped ids")
	}
	if !failed(Check("/proc/sys/no"), "overlay on the data directory") {
		t.Error("/proc can hold an overlay")
	}
}

// The other generation of control groups is not here to be tried.
func TestSpec(t *testing.T) {
	limits := hostexec.Limits{MemoryBytes: 1 << 30, CPUs: 1.5, Processes: 100}
	for _, v2 := range []bool{false, true} {
		s, err := container{root: "/r", base: firstID, hostname: "h", cgroup: "/penstock-ci/x", cgroupV2: v2, limits: limits}.spec()
		if err != nil {
			t.Fatal(err)
		}
		ns := slices.ContainsFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.CgroupNamespace })
		mount := slices.ContainsFunc(s.Mounts, func(m specs.Mount) bool {
			return m.Destination == "/sys/fs/cgroup" && m.Type == "cgroup" && slices.Contains(m.Options, "ro")
		})
		if ns != v2 || mount != v2 {
			t.Errorf("version 2 is %v: namespace %v, mount %v", v2, ns, mount)
		}
		r := s.Linux.Resources
		if *r.Memory.Limit != 1<<30 || *r.CPU.Quota != 150_000 || *r.CPU.Period != 100_000 || *r.Pids.Limit != 100+agentProcesses {
			t.Errorf("limits are %+v %+v %+v", r.Memory, r.CPU, r.Pids)
		}
		if s.Linux.Seccomp == nil || s.Linux.Seccomp.DefaultAction != specs.ActErrno {
			t.Error("system calls are allowed by default")
		}
		if s.Process.NoNewPrivileges {
			t.Error("sudo cannot work")
		}
		for _, c := range s.Process.Capabilities.Bounding {
			if slices.Contains([]string{"CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_NET_ADMIN", "CAP_SYS_MODULE", "CAP_DAC_READ_SEARCH"}, c) {
				t.Errorf("%s is given", c)
			}
		}
	}
}
