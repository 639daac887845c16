//go:build linux

package sandbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/exec"
	_ "github.com/penstock-dev/penstock/internal/host/exec/sandbox/agent" // our own executable is the agent
)

// loginPath is the search path of a fresh login.
const loginPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// machineDir is where sandboxes of all Penstocks of this machine meet.
const machineDir = "/run/penstock-ci"

// Runtime opens sandboxes. It is safe for concurrent use.
type Runtime struct {
	o        Options
	log      *slog.Logger
	runDir   string // sockets, bundles, mount points: not below Dir, which others may not enter
	ids      idmaps
	firewall firewall
	extra    []int

	mu      sync.Mutex
	layer   baseLayer
	under   []string // mounts below the root that are shown
	planned time.Time
}

var _ exec.Runtime = (*Runtime)(nil)

// New makes a runtime. It fails when this machine cannot run sandboxes; see
// Check for all the reasons at once.
func New(o Options) (*Runtime, error) {
	if !filepath.IsAbs(o.Dir) {
		return nil, fmt.Errorf("%w: sandbox directory %q is not an absolute path", problem.ErrInvalid, o.Dir)
	}
	if err := refuse(Check(o.Dir)); err != nil {
		return nil, err
	}
	r := newRuntime(o)
	if err := os.MkdirAll(r.o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make sandbox directory: %w", err)
	}
	return r, nil
}

// newRuntime fills in the defaults.
func newRuntime(o Options) *Runtime {
	if !o.Subnet.IsValid() {
		o.Subnet = netip.MustParsePrefix("10.216.0.0/16")
	}
	if o.Deny == nil {
		o.Deny = []netip.Prefix{netip.MustParsePrefix("10.214.0.0/16"), netip.MustParsePrefix("10.215.0.0/16")}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Dir = filepath.Clean(o.Dir)
	o.Limits = limits(o.Limits, defaultLimits())
	hash := sha256.Sum256([]byte(o.Dir))
	return &Runtime{
		o: o, log: o.Log,
		runDir:   filepath.Join(machineDir, hex.EncodeToString(hash[:5])),
		firewall: firewall{subnet: o.Subnet, deny: o.Deny},
		extra:    systemUsers("/etc/passwd"),
	}
}

// Name is "sandbox".
func (r *Runtime) Name() string { return "sandbox" }

// Close removes what the sessions shared. They must be closed.
func (r *Runtime) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.layer = nil
	r.ids.close()
	return removeUnused(context.Background(), r.o.Subnet)
}

// replan is how long a look at the host's root is good for. It takes some
// milliseconds; a private file that appears meanwhile is the price.
const replan = 5 * time.Second

// base returns the base layer and the mounts below the root.
func (r *Runtime) base() (layer baseLayer, under []string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.layer != nil && time.Since(r.planned) < replan {
		return r.layer, r.under, nil
	}
	now := time.Now()
	mask := masks(slices.Concat(r.o.Hide, []string{r.o.Dir}))
	if layer, err = planBaseLayer("/", mask); err != nil {
		return nil, nil, err
	}
	if under, err = shownMounts(mask); err != nil {
		return nil, nil, err
	}
	r.layer, r.under, r.planned = layer, under, now
	return layer, under, nil
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
