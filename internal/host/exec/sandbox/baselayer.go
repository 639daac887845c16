//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/penstock-dev/penstock/internal/host/exec/sandbox/wire"
)

// A base layer is the overlay layer that carries out the policy over the
// host's root: opaque directories where something is empty, whiteouts where
// something is missing, other files where something is replaced. It costs a
// session a few hundred files in memory, where a mount per hidden path would
// leave a mount table that nobody can read.
//
// It is kept as a list and written for each session, with the session's own
// ids as owners, because a layer may not lie inside another one, and the
// layer below is the host's root.
type baseLayer []layerEntry

type layerEntry struct {
	Path     string
	Kind     fate // search for a directory that is as on the host, else empty, missing, replace
	Mode     fs.FileMode
	UID, GID int
	Content  string `json:",omitempty"`
}

// planBaseLayer looks at the host's root and decides.
func planBaseLayer(root string, mask map[string]bool) (baseLayer, error) {
	b := &layerPlan{root: root, mask: mask, dirs: map[string]bool{"/": true}}
	if err := b.walk("/"); err != nil {
		return nil, fmt.Errorf("plan base layer: %w", err)
	}
	if err := b.force(); err != nil {
		return nil, fmt.Errorf("plan base layer: %w", err)
	}
	if err := b.extras(); err != nil {
		return nil, fmt.Errorf("plan base layer: %w", err)
	}
	return b.out, nil
}

// force hides what is to be hidden in places that are shown without search.
func (b *layerPlan) force() error {
	all := map[string]bool{}
	maps.Copy(all, hidden)
	maps.Copy(all, b.mask)
	done := map[string]bool{}
	for _, e := range b.out {
		if e.Kind != search {
			done[e.Path] = true
		}
	}
	for _, p := range slices.Sorted(maps.Keys(all)) {
		if covered(p, done) {
			continue
		}
		fi, err := os.Lstat(filepath.Join(b.root, p))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err != nil {
			return err
		}
		if err := b.apply(p, fi, decide(p, fi.Mode(), b.mask)); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		done[p] = true
	}
	return nil
}

// covered says whether p or a directory above it is among the paths.
func covered(p string, paths map[string]bool) bool {
	for ; p != "/" && p != "."; p = filepath.Dir(p) {
		if paths[p] {
			return true
		}
	}
	return false
}

type layerPlan struct {
	root string
	mask map[string]bool
	dirs map[string]bool // directories of the layer so far
	out  baseLayer
}

func (b *layerPlan) walk(p string) error {
	entries, err := os.ReadDir(filepath.Join(b.root, p))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // went away while we looked
		}
		return err
	}
	for _, e := range entries {
		q := filepath.Join(p, e.Name())
		fi, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := b.apply(q, fi, decide(q, fi.Mode(), b.mask)); err != nil {
			return fmt.Errorf("%s: %w", q, err)
		}
	}
	return nil
}

func (b *layerPlan) apply(p string, fi fs.FileInfo, f fate) error {
	switch f {
	case search:
		if !fi.IsDir() || tooDeep(p) {
			return nil
		}
		return b.walk(p)
	case empty:
		st := fi.Sys().(*syscall.Stat_t)
		return b.add(layerEntry{Path: p, Kind: empty, Mode: fi.Mode(), UID: int(st.Uid), GID: int(st.Gid)})
	case missing:
		return b.add(layerEntry{Path: p, Kind: missing})
	case replace:
		return b.replace(p)
	}
	return nil
}

// add appends an entry after the directories above it, which are in the layer
// as they are on the host: an overlay shows owner and mode of the topmost.
func (b *layerPlan) add(e layerEntry) error {
	if dir := filepath.Dir(e.Path); !b.dirs[dir] {
		fi, err := os.Lstat(filepath.Join(b.root, dir))
		if err != nil {
			return err
		}
		st := fi.Sys().(*syscall.Stat_t)
		if err := b.add(layerEntry{Path: dir, Kind: search, Mode: fi.Mode(), UID: int(st.Uid), GID: int(st.Gid)}); err != nil {
			return err
		}
	}
	if e.Kind == search || e.Kind == empty {
		b.dirs[e.Path] = true
	}
	b.out = append(b.out, e)
	return nil
}

func (b *layerPlan) file(p, content string, mode fs.FileMode) error {
	return b.add(layerEntry{Path: p, Kind: replace, Mode: mode, Content: content})
}

func (b *layerPlan) replace(p string) error {
	switch p {
	case "/etc/sudoers":
		return b.file(p, "Defaults env_keep += \"CI GITHUB_* RUNNER_*\"\nroot ALL=(ALL:ALL) NOPASSWD: ALL\n", 0o440)
	case "/etc/shadow":
		return b.lockedAccounts(p, "/etc/passwd", ":*:19000:0:99999:7:::\n")
	case "/etc/gshadow":
		return b.lockedAccounts(p, "/etc/group", ":*::\n")
	}
	return fmt.Errorf("no replacement for %s", p)
}

// lockedAccounts makes a shadow file in which every account of the public file
// exists and none has a password.
func (b *layerPlan) lockedAccounts(p, public, rest string) error {
	data, err := os.ReadFile(filepath.Join(b.root, public))
	if err != nil {
		return err
	}
	var s strings.Builder
	for line := range strings.Lines(string(data)) {
		if name, _, ok := strings.Cut(line, ":"); ok && name != "" {
			s.WriteString(name + rest)
		}
	}
	return b.file(p, s.String(), 0o640)
}

// extras adds what a job expects and the host may not have.
func (b *layerPlan) extras() error {
	for _, d := range []struct {
		path string
		mode fs.FileMode
	}{
		{"/tmp", 0o777 | fs.ModeSticky}, {"/root", 0o700}, {"/run", 0o755}, {"/home", 0o755},
		{"/proc", 0o555}, {"/sys", 0o555}, {"/dev", 0o755},
		{"/run/lock", 0o777 | fs.ModeSticky}, {"/run/penstock", 0o755},
		{"/var/log", 0o755}, {"/var/log/apt", 0o755}, {"/var/tmp", 0o777 | fs.ModeSticky}, {"/var/spool", 0o755}, {"/var/mail", 0o755},
	} {
		if !b.dirs[d.path] {
			if err := b.add(layerEntry{Path: d.path, Kind: search, Mode: d.mode}); err != nil {
				return err
			}
		}
	}
	if err := b.file(wire.AgentPath, "", 0o755); err != nil { // a mount point
		return err
	}
	_, err := os.Stat(filepath.Join(b.root, "/usr/bin/sudo"))
	if errors.Is(err, fs.ErrNotExist) {
		return b.file("/usr/bin/sudo", sudoScript, 0o755)
	}
	return err
}

// write makes the layer in dir, an empty directory, for a sandbox whose root
// is base; mapped says which users of the host exist inside.
func (l baseLayer) write(dir string, base int, mapped func(uid int) bool) error {
	for _, e := range l {
		if err := e.write(filepath.Join(dir, e.Path), base, mapped); err != nil {
			return fmt.Errorf("write base layer: %w", err)
		}
	}
	return nil
}

func (e layerEntry) write(p string, base int, mapped func(uid int) bool) error {
	switch e.Kind {
	case missing:
		return unix.Mknod(p, unix.S_IFCHR, 0) // overlay's whiteout: device 0/0
	case replace:
		if err := os.WriteFile(p, []byte(e.Content), 0o600); err != nil {
			return err
		}
	default:
		if err := os.Mkdir(p, 0o700); err != nil {
			return err
		}
	}
	uid := e.UID
	if !mapped(uid) {
		uid = nobody
	}
	if err := os.Chown(p, base+uid, base+min(e.GID, nobody)); err != nil {
		return err
	}
	if err := os.Chmod(p, e.Mode); err != nil { // after chown, which clears bits
		return err
	}
	if e.Kind == empty {
		return unix.Setxattr(p, "trusted.overlay.opaque", []byte("y"), 0)
	}
	return nil
}

// sudoScript stands in for sudo where the host has none: the user is root
// already. It takes the options that scripts use and refuses the others.
const sudoScript = `#!/bin/sh
# Stands in for sudo in a Penstock sandbox, where the user is root already.
user=
while [ $# -gt 0 ]; do
	case $1 in
	-u|--user) user=$2; shift 2 ;;
	--user=*) user=${1#*=}; shift ;;
	-p|--prompt) shift 2 ;;
	-E|-n|-H|-S|-P|-A|-k|-EH|-HE|-nE|-En|-nH|-Hn|-nS|-Sn|--preserve-env|--preserve-env=*|--non-interactive|--set-home|--stdin) shift ;;
	-i|-s|--login|--shell) shift; [ $# -gt 0 ] || set -- "${SHELL:-/bin/sh}" ;;
	-v|-l|--validate|--list|-V|--version) exit 0 ;;
	--) shift; break ;;
	-*) echo "sudo: option $1 is not known in this sandbox (the user is root already)" >&2; exit 1 ;;
	*=*) export "$1"; shift ;;
	*) break ;;
	esac
done
[ $# -gt 0 ] || { echo "usage: sudo [-E] [-n] [-H] [-u user] [NAME=value] command" >&2; exit 1; }
case $user in
""|root|0|"#0") exec "$@" ;;
esac
exec setpriv --reuid="${user#"#"}" --regid="$(id -g "${user#"#"}")" --init-groups -- "$@"
`
