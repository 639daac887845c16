//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// refusal runs `penstock up` where it cannot work and wants a fast end with
// the exit code, the reason and what to do about it.
type refusal struct {
	command func(ctx context.Context, p *Platform, args ...string) *exec.Cmd
	code    int
	says    []string
}

func (r refusal) check(t *testing.T, p *Platform) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	make := r.command
	if make == nil {
		make = func(ctx context.Context, p *Platform, args ...string) *exec.Cmd { return p.Cmd(ctx, args...) }
	}
	c := make(ctx, p, "up", "--detach", "--timeout", "20s")
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	began := time.Now()
	err := c.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("penstock up: %v, want a refusal\n%s", err, &out)
	}
	if exit.ExitCode() != r.code {
		t.Errorf("exit code %d, want %d", exit.ExitCode(), r.code)
	}
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("refused only after %v", d)
	}
	for _, s := range r.says {
		if !strings.Contains(out.String(), s) {
			t.Errorf("it does not say %q", s)
		}
	}
	if t.Failed() {
		t.Logf("it says\n%s", &out)
	}
	for _, name := range []string{"node", "gateway", "server"} {
		if _, err := os.Stat(filepath.Join(p.DataDir, "run", name+".pid")); err == nil {
			t.Errorf("%s was started", name)
		}
	}
}

func TestE2ERefusesTakenPort(t *testing.T) {
	for _, port := range []string{"127.0.0.1:7070", "127.0.0.1:7080"} {
		t.Run(port, func(t *testing.T) {
			p := NewPlatform(t)
			ln, err := net.Listen("tcp", port)
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			refusal{code: 3, says: []string{"error:", port, "in use", "ss -ltnp"}}.check(t, p)
		})
	}
}

// without runs penstock in a mount namespace in which the program at path does
// not exist.
func without(t *testing.T, path string) func(context.Context, *Platform, ...string) *exec.Cmd {
	layer := t.TempDir()
	// In an overlay, a 0/0 device hides what has its name below.
	if err := syscall.Mknod(filepath.Join(layer, filepath.Base(path)), syscall.S_IFCHR, 0); err != nil {
		t.Skipf("cannot make a whiteout: %v", err)
	}
	dir := filepath.Dir(path)
	return func(ctx context.Context, p *Platform, args ...string) *exec.Cmd {
		c := p.Cmd(ctx, args...)
		script := `mount -t overlay overlay -o "lowerdir=$1:$2" "$2" && shift 2 && exec "$@"`
		c.Args = append([]string{"unshare", "--mount", "sh", "-c", script, "sh", layer, dir, c.Path}, c.Args[1:]...)
		c.Path, c.Err = lookPath("unshare")
		return c
	}
}

func lookPath(name string) (string, error) { return exec.LookPath(name) }

func TestE2ERefusesMissingPrograms(t *testing.T) {
	for program, pkg := range map[string]string{"runc": "runc", "containerd": "containerd", "iptables": "iptables"} {
		t.Run(program, func(t *testing.T) {
			p := NewPlatform(t)
			path, err := lookPath(program)
			if err != nil {
				t.Skip(err)
			}
			refusal{
				command: without(t, path), code: 3,
				says: []string{"error:", program, "not installed", "apt-get install -y --no-install-recommends " + pkg},
			}.check(t, p)
		})
	}
}

func TestE2ERefusesWithoutRoot(t *testing.T) {
	p := NewPlatform(t)
	// A copy that the other user can reach and a directory that is theirs.
	bin, err := os.MkdirTemp("/var/tmp", "pe2ebin-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(bin)
	for _, name := range []string{"penstock", "penstock-node"} {
		if err := os.Symlink(filepath.Join(p.Bin, name), filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(filepath.Join(p.Bin, "penstock"))
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(bin, "penstock"))
	if err := errors.Join(os.WriteFile(filepath.Join(bin, "penstock"), b, 0o755), os.Chmod(bin, 0o755), os.Chmod(p.DataDir, 0o777)); err != nil {
		t.Fatal(err)
	}
	refusal{
		command: func(ctx context.Context, p *Platform, args ...string) *exec.Cmd {
			c := p.Cmd(ctx, args...)
			c.Path = filepath.Join(bin, "penstock")
			c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			return c
		},
		code: 3, says: []string{"error:", "root", "sudo penstock up"},
	}.check(t, p)
}

func TestE2ERefusesUnusableDataDir(t *testing.T) {
	t.Run("a file", func(t *testing.T) {
		p := NewPlatform(t)
		p.DataDir = filepath.Join(p.DataDir, "file")
		if err := os.WriteFile(p.DataDir, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(p.DataDir)
		refusal{code: 3, says: []string{"error:", p.DataDir, "hint:"}}.check(t, p)
		if b, err := os.ReadFile(p.DataDir); err != nil || string(b) != "mine" {
			t.Errorf("the file is now %q %v", b, err)
		}
	})
	t.Run("read-only", func(t *testing.T) {
		p := NewPlatform(t)
		refusal{
			command: func(ctx context.Context, p *Platform, args ...string) *exec.Cmd {
				c := p.Cmd(ctx, args...)
				script := `mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"`
				c.Args = append([]string{"unshare", "--mount", "sh", "-c", script, "sh", p.DataDir, c.Path}, c.Args[1:]...)
				c.Path, c.Err = lookPath("unshare")
				return c
			},
			code: 3, says: []string{"error:", p.DataDir, "read-only file system", "hint:"},
		}.check(t, p)
	})
	t.Run("no room", func(t *testing.T) {
		p := NewPlatform(t)
		if err := syscall.Mount("tmpfs", p.DataDir, "tmpfs", 0, "size=64m,mode=700"); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := syscall.Unmount(p.DataDir, syscall.MNT_DETACH); err != nil {
				t.Error(err)
			}
		}()
		refusal{code: 3, says: []string{"error:", "free", "hint:"}}.check(t, p)
	})
}
