//go:build linux

package sandbox

import (
	"io/fs"
	"testing"
)

func TestDecide(t *testing.T) {
	const (
		dir, file, link = fs.ModeDir | 0o755, fs.FileMode(0o644), fs.ModeSymlink | 0o777
		privDir         = fs.ModeDir | 0o700
		privFile        = fs.FileMode(0o600)
	)
	mask := map[string]bool{"/usr/share/named": true, "/opt/data": true}
	for _, tc := range []struct {
		path string
		mode fs.FileMode
		want fate
	}{
		{"/bin", link, show}, {"/usr", dir, search}, {"/etc", dir, search}, {"/opt", dir, search},
		{"/root", privDir, empty}, {"/home", dir, empty}, {"/run", dir, empty}, {"/tmp", dir, empty}, {"/boot", dir, empty},
		{"/data", dir, empty}, {"/swapfile", privFile, missing}, {"/notes", file, missing}, {"/usr-link", link, show},
		{"/usr/bin", dir, show}, {"/usr/local", dir, search}, {"/usr/local/secret", privFile, missing}, {"/usr/local/bin", dir, search},
		{"/usr/share/named", dir, empty}, {"/opt/data", dir, empty}, {"/opt/tool", dir, search}, {"/opt/tool/.env", privFile, missing},
		{"/etc/passwd", file, show}, {"/etc/shadow", 0o640, replace}, {"/etc/gshadow", 0o640, replace}, {"/etc/sudoers", 0o440, replace},
		{"/etc/shadow-", 0o640, missing}, {"/etc/ssh", dir, search}, {"/etc/ssh/ssh_host_ed25519_key", privFile, missing},
		{"/etc/ssh/ssh_host_ed25519_key.pub", file, show}, {"/etc/kubernetes", dir, empty}, {"/etc/kubernetes/admin.conf", privFile, missing},
		{"/etc/ssl/private", fs.ModeDir | 0o710, empty}, {"/etc/ssl/certs", dir, search}, {"/etc/sudoers.d", dir, empty},
		{"/etc/socket", fs.ModeSocket | 0o777, missing}, {"/etc/fifo", fs.ModeNamedPipe | 0o666, missing}, {"/opt/disk", fs.ModeDevice | 0o666, missing},
		{"/var/lib", dir, search}, {"/var/log", dir, empty}, {"/var/run", link, show}, {"/var/spool", dir, empty}, {"/var/www", dir, empty}, {"/var/backup.tar", file, missing},
		{"/var/lib/dpkg", dir, search}, {"/var/lib/postgresql", dir, empty}, {"/var/lib/docker", dir, empty}, {"/var/lib/penstock", dir, empty},
		{"/var/lib/dpkg/status", file, show}, {"/var/lib/apt/private", privDir, empty}, {"/var/lib/dpkg/lock", privFile, missing},
		{"/var/cache/apt", dir, search}, {"/var/cache/nginx", dir, empty}, {"/var/cache/debconf/passwords.dat", privFile, missing},
	} {
		if got := decide(tc.path, tc.mode, mask); got != tc.want {
			t.Errorf("%s (%v): got %d, want %d", tc.path, tc.mode, got, tc.want)
		}
	}
}

func TestShown(t *testing.T) {
	mask := map[string]bool{"/opt/hidden": true}
	for p, want := range map[string]bool{
		"/": false, "/usr": true, "/usr/local": true, "/var": true, "/var/lib": true, "/var/lib/apt": true, "/opt/tools": true,
		"/home": false, "/boot/efi": false, "/var/lib/docker": false, "/var/lib/docker/overlay2/x": false, "/run/user/0": false,
		"/opt/hidden": false, "/opt/hidden/deep": false, "/mnt/disk": false,
	} {
		if got := shown(p, mask); got != want {
			t.Errorf("%s: %v, want %v", p, got, want)
		}
	}
}

func BenchmarkPlanBaseLayer(b *testing.B) {
	for range b.N {
		l, err := planBaseLayer("/", nil)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(l)), "entries")
	}
}
