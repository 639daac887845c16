//go:build linux

package sandbox_test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/penstock-dev/penstock/internal/host/exec"
	. "github.com/penstock-dev/penstock/internal/host/exec/exectest"
	"github.com/penstock-dev/penstock/internal/host/exec/sandbox"
)

// hostFile puts a file on the host for the time of the test.
func hostFile(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(path) })
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func hostDir(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(path) })
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestHostIsHidden(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("sandboxes need root")
	}
	n := fmt.Sprintf("penstock-test-%d", os.Getpid())
	hostFile(t, "/etc/"+n+"-private", "SECRET", 0o600)
	hostFile(t, "/etc/"+n+"-group", "SECRET", 0o640)
	hostFile(t, "/etc/"+n+"-public", "public", 0o644)
	hostFile(t, "/root/"+n, "SECRET", 0o644)
	hostFile(t, "/home/"+n, "SECRET", 0o644)
	hostFile(t, "/run/"+n, "SECRET", 0o644)
	hostFile(t, "/tmp/"+n, "SECRET", 0o644)
	hostFile(t, "/srv/"+n, "SECRET", 0o644)
	hostFile(t, "/"+n, "SECRET", 0o644)
	hostFile(t, "/var/log/"+n, "SECRET", 0o644)
	hostFile(t, "/usr/local/lib/"+n+"-private", "SECRET", 0o600)
	hostFile(t, "/usr/local/lib/"+n+"-public", "public", 0o644)
	hostDir(t, "/opt/"+n, 0o755)
	hostFile(t, "/opt/"+n+"/.env", "SECRET", 0o600)
	hostFile(t, "/opt/"+n+"/tool", "public", 0o755)
	hostDir(t, "/opt/"+n+"/private", 0o700)
	hostFile(t, "/opt/"+n+"/private/file", "SECRET", 0o644)
	// Deeper than the search goes, but of a user who does not exist inside.
	deep := "/opt/" + n + "/a/b/c/d"
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	hostFile(t, deep+"/of-a-service", "SECRET", 0o600)
	if err := os.Chown(deep+"/of-a-service", 1234, 1234); err != nil {
		t.Fatal(err)
	}
	hostDir(t, "/var/lib/"+n, 0o755)
	hostFile(t, "/var/lib/"+n+"/db", "SECRET", 0o644)
	hostDir(t, "/usr/share/"+n, 0o755)
	hostFile(t, "/usr/share/"+n+"/named", "SECRET", 0o644)

	r := newRuntime(t, func(o *sandbox.Options) { o.Hide = []string{"/usr/share/" + n} })
	s := Open(t, r)
	t.Run("secrets", func(t *testing.T) {
		got, _ := Sh(t, s, strings.ReplaceAll(`for f in /etc/N-private /etc/N-group /root/N /home/N /run/N /tmp/N /srv/N /N /var/log/N
			do cat $f; done 2>/dev/null
			cat /usr/local/lib/N-private /opt/N/.env /opt/N/private/* /opt/N/a/b/c/d/* /var/lib/N/* /usr/share/N/* 2>/dev/null`, "N", n))
		if got != "" {
			t.Errorf("readable inside: %s", got)
		}
	})
	t.Run("tools", func(t *testing.T) {
		want := "publicpublicpublic"
		if got := Must(t, s, strings.ReplaceAll("cat /etc/N-public /usr/local/lib/N-public /opt/N/tool", "N", n)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	t.Run("accounts", func(t *testing.T) {
		out := Must(t, s, "cat /etc/shadow; getent passwd root")
		for line := range strings.Lines(out) {
			if f := strings.Split(line, ":"); f[1] != "*" && f[1] != "x" {
				t.Errorf("a password is known inside: %s", line)
			}
		}
	})
	for _, p := range []string{"/root", "/home", "/srv", "/mnt", "/media", "/boot"} {
		if out := Must(t, s, "[ ! -e "+p+" ] || ls -A "+p); out != "" {
			t.Errorf("%s is not empty: %s", p, out)
		}
	}
	if out := Must(t, s, "ls /run"); out != "lock\npenstock\n" {
		t.Errorf("/run holds %q", out)
	}
}

func TestRootInside(t *testing.T) {
	r := newRuntime(t)
	s := Open(t, r)
	Must(t, s, `set -e
		[ "$(id -u)" = 0 ]; [ "$(sudo id -u)" = 0 ]; [ "$(sudo -E -n FOO=1 sh -c 'echo $FOO')" = 1 ]
		[ "$(sudo -u nobody id -u)" = 65534 ]
		touch /usr/bin/new-tool /etc/new /opt/new /var/lib/new /root/new /run/new /tmp/new
		chown 33:33 /tmp/new; [ "$(stat -c %u /tmp/new)" = 33 ]
		rm /usr/bin/env; mv /etc/passwd /etc/passwd.moved; chmod 600 /etc/hosts`)
	for _, p := range []string{"/usr/bin/env", "/etc/passwd"} {
		if _, err := os.Stat(p); err != nil {
			t.Fatalf("the host has lost %s", p)
		}
	}
	for _, p := range []string{"/usr/bin/new-tool", "/etc/new", "/opt/new", "/var/lib/new", "/root/new", "/run/new", "/etc/passwd.moved"} {
		if _, err := os.Lstat(p); err == nil {
			t.Errorf("the host has got %s", p)
		}
	}
	if out, code := Sh(t, s, "sudo --no-such-option true"); code == 0 {
		t.Errorf("sudo accepts an option it does not know: %s", out)
	}
	// Another sandbox sees nothing of it.
	Must(t, Open(t, r), "[ ! -e /usr/bin/new-tool ] && [ -e /usr/bin/env ] && [ ! -e /tmp/new ]")
}

func TestPackageInstallation(t *testing.T) {
	if _, err := os.Stat("/var/lib/dpkg/status"); err != nil {
		t.Skip("not a Debian system")
	}
	r := newRuntime(t)
	s := Open(t, r)
	before := digest(t, "/var/lib/dpkg/status")
	Must(t, s, `set -e
		mkdir -p p/DEBIAN p/usr/bin p/etc
		printf 'Package: penstock-probe\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: probe\n' > p/DEBIAN/control
		printf '#!/bin/sh\nset -e\nuseradd --system penstock-probe\nchown penstock-probe /etc/penstock-probe\n' > p/DEBIAN/postinst
		printf '#!/bin/sh\necho installed' > p/usr/bin/penstock-probe; echo conf > p/etc/penstock-probe
		chmod +x p/DEBIAN/postinst p/usr/bin/penstock-probe
		dpkg-deb --build --root-owner-group p probe.deb
		sudo apt-get install -y ./probe.deb`)
	if out := Must(t, s, "penstock-probe; stat -c %U /etc/penstock-probe"); out != "installed\npenstock-probe\n" {
		t.Errorf("got %q", out)
	}
	if digest(t, "/var/lib/dpkg/status") != before {
		t.Error("the host's package database has changed")
	}
	for _, p := range []string{"/usr/bin/penstock-probe", "/etc/penstock-probe"} {
		if _, err := os.Lstat(p); err == nil {
			t.Errorf("the host has got %s", p)
		}
	}
}

func digest(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(data))
}

func TestMounts(t *testing.T) {
	r := newRuntime(t)
	ro, rw, other := t.TempDir(), t.TempDir(), t.TempDir()
	file := filepath.Join(t.TempDir(), "one-file")
	for _, p := range []string{ro + "/f", rw + "/f", other + "/f", file} {
		if err := os.WriteFile(p, []byte("content"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{other, other + "/f"} {
		if err := os.Chown(p, 4321, 4321); err != nil {
			t.Fatal(err)
		}
	}
	s := Open(t, r, func(spec *exec.SessionSpec) {
		spec.Mounts = []exec.Mount{
			{Source: ro, Target: ro, ReadOnly: true},
			{Source: rw, Target: "/made/elsewhere/deep"},
			{Source: other, Target: "/var/run/other"}, // /var/run is a link to /run
			{Source: file, Target: "/etc/one-file", ReadOnly: true},
		}
	})
	Must(t, s, "cat "+ro+"/f /made/elsewhere/deep/f /run/other/f /etc/one-file >/dev/null")
	if out, code := Sh(t, s, "echo x > "+ro+"/g || echo x > "+ro+"/f || rm "+ro+"/f || echo x > /etc/one-file"); code == 0 {
		t.Errorf("a read-only mount can be written: %s", out)
	}
	Must(t, s, "echo more > /made/elsewhere/deep/g; echo more > /run/other/g; cp /bin/true /run/other/suid; chmod 4755 /run/other/suid")
	for p, want := range map[string]uint32{rw + "/g": 0, other + "/g": 4321, other + "/suid": 4321} {
		var st unix.Stat_t
		if err := unix.Stat(p, &st); err != nil {
			t.Fatal(err)
		}
		if st.Uid != want || st.Gid != want {
			t.Errorf("%s belongs to %d:%d outside, want %d", p, st.Uid, st.Gid, want)
		}
	}
	if out := Must(t, s, "findmnt -n -o OPTIONS /run/other"); !strings.Contains(out, "nosuid") || !strings.Contains(out, "nodev") {
		t.Errorf("mounted with %s", out)
	}
}

// A disk mounted below a place that is shown is shown too, and as private.
func TestMountBelowRoot(t *testing.T) {
	r := newRuntime(t)
	point := fmt.Sprintf("/opt/penstock-test-mount-%d", os.Getpid())
	hostDir(t, point, 0o755)
	if err := unix.Mount("none", point, "tmpfs", 0, "mode=0755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	hostFile(t, point+"/tool", "public", 0o755)
	hostFile(t, point+"/key", "SECRET", 0o600)
	s := Open(t, r)
	if out := Must(t, s, "cd "+point+"; cat tool; cat key 2>/dev/null; echo changed > tool; touch new; ls"); out != "publicnew\ntool\n" {
		t.Errorf("got %q", out)
	}
	if data, err := os.ReadFile(point + "/tool"); err != nil || string(data) != "public" {
		t.Errorf("the host's file is %q, %v", data, err)
	}
}
