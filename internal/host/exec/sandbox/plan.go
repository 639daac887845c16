//go:build linux

package sandbox

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/base/atomicfile"
)

// plan is what a look at the host's root has shown.
type plan struct {
	Layer baseLayer
	Under []string // mounts below the root that are shown
	Made  time.Time
}

// replan is how long a plan is good for. Making one takes some milliseconds; a
// private file that appears meanwhile is the price.
const replan = 5 * time.Second

func (p plan) fresh(now time.Time) bool {
	age := now.Sub(p.Made)
	return age >= 0 && age < replan && len(p.Layer) > 0
}

// planned returns a fresh plan: ours, one that another process left beside the
// sessions, or a new one.
func (r *Runtime) planned() (plan, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.plan.fresh(now) {
		return r.plan, nil
	}
	hide := masks(slices.Concat(r.o.Hide, []string{r.o.Dir}))
	names := sha256.Sum256([]byte(strings.Join(slices.Sorted(maps.Keys(hide)), "\x00")))
	file := filepath.Join(r.runDir, "plan-"+hex.EncodeToString(names[:5]))
	if data, err := os.ReadFile(file); err == nil {
		var p plan
		if json.Unmarshal(data, &p) == nil && p.fresh(now) {
			r.plan = p
			return p, nil
		}
	}
	p := plan{Made: now}
	var err error
	if p.Layer, err = planBaseLayer("/", hide); err != nil {
		return plan{}, err
	}
	if p.Under, err = shownMounts(hide); err != nil {
		return plan{}, err
	}
	data, err := json.Marshal(p)
	if err != nil {
		return plan{}, err
	}
	if err := atomicfile.Write(file, data, 0o600); err != nil {
		return plan{}, fmt.Errorf("keep plan of base layer: %w", err)
	}
	r.plan = p
	return p, nil
}

// masks are the paths, and where links among them lead.
func masks(paths []string) map[string]bool {
	m := map[string]bool{}
	for _, p := range paths {
		m[filepath.Clean(p)] = true
		if real, err := filepath.EvalSymlinks(p); err == nil {
			m[real] = true
		}
	}
	return m
}

// shownMounts lists the mount points below the root that the policy shows.
func shownMounts(mask map[string]bool) ([]string, error) {
	all, err := mounts()
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	var out []string
	for _, m := range all {
		fi, err := os.Lstat(m.point)
		if err != nil || !fi.IsDir() || !mappable[m.fstype] || !shown(m.point, mask) {
			continue
		}
		out = append(out, m.point)
	}
	return out, nil
}

// shown says whether the policy shows the directory p.
func shown(p string, mask map[string]bool) bool {
	if p == "/" {
		return false // the root has its overlay anyway
	}
	for q := p; q != "/"; q = filepath.Dir(q) {
		if f := decide(q, fs.ModeDir|0o755, mask); f == empty || f == missing {
			return false
		}
	}
	return true
}

// mappable are the disk file systems that can be mounted with ids mapped.
var mappable = map[string]bool{
	"ext2": true, "ext3": true, "ext4": true, "xfs": true, "btrfs": true, "f2fs": true, "vfat": true, "exfat": true,
	"erofs": true, "squashfs": true, "zfs": true, "bcachefs": true, "tmpfs": true, "ntfs3": true, "virtiofs": true,
}
