//go:build linux

package image

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// Dir is a directory with its owner and mode.
type Dir struct {
	Path     string
	Mode     fs.FileMode
	UID, GID int
}

// settle finds what owner and mode directories have that a layer has something
// in without naming them: those of the next layer below that does. An overlay
// shows the topmost layer's, where they are made up. (Many builders write no
// directories; with /tmp it matters.)
func settle(layers []string, infos []layerInfo) ([]Dir, error) {
	implicit := make([]map[string]bool, len(layers))
	wanted := map[string]bool{}
	for i, info := range infos {
		implicit[i] = map[string]bool{}
		for _, p := range info.Implicit {
			implicit[i][p] = true
			for q := p; q != "/" && q != "."; q = path.Dir(q) {
				wanted[q] = true // an entry of ours needs those above it
			}
		}
	}
	var out []Dir
	for _, p := range slices.Sorted(maps.Keys(wanted)) {
		d, ok, err := find(p, layers, implicit)
		if err != nil {
			return nil, fmt.Errorf("find owner of %s: %w", p, err)
		}
		if ok {
			out = append(out, d)
		}
	}
	return out, nil
}

// find looks for the directory from the top.
func find(p string, layers []string, implicit []map[string]bool) (Dir, bool, error) {
	var made *Dir // by a layer that does not name it
	for i, layer := range layers {
		var st unix.Stat_t
		err := unix.Lstat(filepath.Join(layer, p), &st)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			if hides(layer, p) {
				break
			}
			continue
		}
		if err != nil {
			return Dir{}, false, err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			break // a whiteout, or another kind of file, which hides what is below
		}
		d := Dir{Path: p, Mode: mode(st.Mode), UID: int(st.Uid), GID: int(st.Gid)}
		if !implicit[i][p] {
			return d, true, nil
		}
		if made == nil {
			made = &d
		}
		if hides(layer, p) || opaque(filepath.Join(layer, p)) {
			break
		}
	}
	if made == nil {
		return Dir{}, false, nil
	}
	return *made, true, nil
}

// hides says whether something above p in the layer hides p in those below.
func hides(layer, p string) bool {
	for q := path.Dir(p); q != "/" && q != "."; q = path.Dir(q) {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(layer, q), &st); err != nil {
			continue
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR || opaque(filepath.Join(layer, q)) {
			return true
		}
	}
	return false
}

func opaque(dir string) bool {
	value := make([]byte, 4)
	n, err := unix.Lgetxattr(dir, "trusted.overlay.opaque", value)
	return err == nil && n == 1 && value[0] == 'y'
}

func mode(m uint32) fs.FileMode {
	out := fs.FileMode(m & 0o777)
	for bit, flag := range map[uint32]fs.FileMode{unix.S_ISUID: fs.ModeSetuid, unix.S_ISGID: fs.ModeSetgid, unix.S_ISVTX: fs.ModeSticky} {
		if m&bit != 0 {
			out |= flag
		}
	}
	return out
}
