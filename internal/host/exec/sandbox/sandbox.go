//go:build linux

package sandbox

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

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
	private  privateNetworks
	extra    []int

	mu    sync.Mutex
	plan  plan
	spare *session

	unused sync.WaitGroup // spares that are being closed
}

var _ exec.Runtime = (*Runtime)(nil)

// New makes a runtime. It fails when this machine obviously cannot run
// sandboxes; see Check for all the reasons, and at once.
func New(o Options) (*Runtime, error) {
	if !filepath.IsAbs(o.Dir) {
		return nil, fmt.Errorf("%w: sandbox directory %q is not an absolute path", problem.ErrInvalid, o.Dir)
	}
	if err := refuse(checkQuickly()); err != nil {
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
		firewall: firewall{own: networks{Subnets: []netip.Prefix{o.Subnet}, Deny: o.Deny}},
		extra:    systemUsers("/etc/passwd"),
	}
}

// Name is "sandbox".
func (r *Runtime) Name() string { return "sandbox" }

// Close lets go of what the sessions shared in this process. What they shared
// on the machine (firewall rules, directories in /run) stays for the next
// process; Sweep removes it.
func (r *Runtime) Close() error {
	var err error
	if s := r.takeSpare(); s != nil {
		err = s.Close()
	}
	r.unused.Wait()
	r.ids.close()
	return err
}
