//go:build linux

// Package buildkit is the image builder of the node: BuildKit in this process,
// on a unix socket, with runc for RUN steps.
//
// RUN steps get a network of their own behind NAT. They reach the outside and
// nothing of this machine: not its loopback, not its ports, not the Pods.
//
// [Server.Run] owns everything it makes: processes, mounts, interfaces, control
// groups and packet filter rules are gone when it returns, and what a killed
// process left behind is gone before the next one is ready ([Clean] does only
// that). The build cache stays and survives both.
package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/defaults"
	"github.com/moby/buildkit/util/apicaps"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/moby/buildkit/version"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	_ "github.com/moby/buildkit/util/grpcutil/encoding/proto" // the codec BuildKit's messages need

	"github.com/penstock-dev/penstock/node/internal/registry"
)

// Options configure a Server.
type Options struct {
	Root   string // required: directory of cache and state
	Socket string // required: path of the unix socket, made with mode 0600

	Runc   string       // default "runc", looked up in PATH
	Bridge string       // interface of the RUN network, default "penstockbuild0"
	Subnet netip.Prefix // of the RUN network, default 10.217.0.0/16
	// Deny lists further networks that RUN steps must not reach: those of
	// Pods, Services and CI sandboxes.
	Deny []netip.Prefix
	// Nameservers for RUN steps; default those of /etc/resolv.conf.
	Nameservers []netip.Addr

	// Registry says where Penstock's own registry is; nil for none.
	Registry *registry.Config

	// CacheLimit bounds the build cache in bytes; default 20 GB, never more
	// than a quarter of the file system.
	CacheLimit int64
	// Parallel bounds how many RUN steps run at the same time; 0 is no bound.
	Parallel int

	Log *slog.Logger // default discards
}

// Limits of the defaults above.
const (
	defaultBridge     = "penstockbuild0"
	defaultSubnet     = "10.217.0.0/16"
	defaultCacheLimit = 20e9
)

// stopGrace is how long running steps have to end when the server stops.
const stopGrace = 10 * time.Second

func (o Options) withDefaults() (Options, error) {
	if o.Root == "" || o.Socket == "" {
		return o, errors.New("buildkit: Root and Socket are required")
	}
	// Mount points and control groups are compared by path.
	root, err := filepath.Abs(o.Root)
	if err != nil {
		return o, fmt.Errorf("resolve build root: %w", err)
	}
	o.Root = root
	if o.Runc == "" {
		o.Runc = "runc"
	}
	if o.Bridge == "" {
		o.Bridge = defaultBridge
	}
	if len(o.Bridge) > unix.IFNAMSIZ-1 {
		return o, fmt.Errorf("bridge name %q is longer than %d characters", o.Bridge, unix.IFNAMSIZ-1)
	}
	if !o.Subnet.IsValid() {
		o.Subnet = netip.MustParsePrefix(defaultSubnet)
	}
	if !o.Subnet.Addr().Is4() || o.Subnet.Bits() > 28 {
		return o, fmt.Errorf("build network %s is not an IPv4 network of at least 16 addresses", o.Subnet)
	}
	o.Subnet = o.Subnet.Masked()
	if o.CacheLimit == 0 {
		o.CacheLimit = defaultCacheLimit
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// Server is one BuildKit.
type Server struct {
	o Options
}

// New returns a server for o. Nothing is touched before Run.
func New(o Options) *Server { return &Server{o: o} }

// Name names the component.
func (s *Server) Name() string { return "buildkit" }

// Run serves until ctx ends, calls ready once builds are accepted, and returns
// when nothing of the server is left but its cache. A stop on request is no
// error.
//
// A process serves a root once: BuildKit keeps checksums of its cache in a
// global that refers to the databases of the first time.
func (s *Server) Run(ctx context.Context, ready func()) error {
	o, err := s.o.withDefaults()
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("start the image builder: it needs root")
	}
	if err := os.MkdirAll(o.Root, 0o700); err != nil {
		return fmt.Errorf("make build root: %w", err)
	}
	unlock, err := lock(filepath.Join(o.Root, "lock"))
	if err != nil {
		return err
	}
	defer unlock()
	bridgeLogs(o.Log)
	apicaps.ExportedProduct = "buildkit"
	nameVersion()

	// A predecessor that was killed left its mounts, containers and network.
	if err := clean(ctx, o); err != nil {
		return fmt.Errorf("clean up after an earlier run: %w", err)
	}
	return s.serve(ctx, o, ready)
}

// nameVersion tells BuildKit which version it is. Its own release sets that
// with linker flags; ours is in the build information of the program.
func nameVersion() {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return
	}
	for _, d := range info.Deps {
		if d.Path == version.Package {
			version.Version = d.Version
		}
	}
}

func (s *Server) serve(ctx context.Context, o Options, ready func()) (err error) {
	defer func() {
		// Whatever happened: leave nothing. The caller's context has ended.
		cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		err = errors.Join(err, clean(cctx, o))
	}()
	if err := limitSteps(o); err != nil {
		return err
	}
	nw, err := newNetwork(ctx, o)
	if err != nil {
		return err
	}
	room := &relief{root: o.Root, log: o.Log}
	steps := &stepCounter{ended: room.stepEnded}
	ctl, err := newBuilder(ctx, o, nw, steps)
	if err != nil {
		return errors.Join(err, nw.Close())
	}
	// From here on the builder owns and closes the network.
	l, err := listen(o.Socket)
	if err != nil {
		return errors.Join(err, ctl.Close())
	}
	room.worker = ctl.worker
	room.begin(ctx)
	srv := grpc.NewServer(
		grpc.ChainUnaryInterceptor(room.intercept, grpcerrors.UnaryServerInterceptor),
		grpc.StreamInterceptor(grpcerrors.StreamServerInterceptor),
		grpc.MaxRecvMsgSize(defaults.DefaultMaxRecvMsgSize),
		grpc.MaxSendMsgSize(defaults.DefaultMaxSendMsgSize),
		grpc.WaitForHandlers(true), // so that Stop returns after the last build has let go
	)
	ctl.Register(srv)
	healthv1.RegisterHealthServer(srv, health.NewServer())

	var wg sync.WaitGroup
	served := make(chan error, 1)
	wg.Go(func() { served <- srv.Serve(l) })
	ready()
	o.Log.InfoContext(ctx, "image builder is ready", "socket", o.Socket, "cache_limit", o.CacheLimit)

	select {
	case <-ctx.Done():
	case err = <-served:
		err = fmt.Errorf("serve builds: %w", err)
	}
	stopServer(srv, o.Log)
	if !steps.wait(stopGrace) {
		o.Log.Warn("build steps did not end in time and are killed", "steps", steps.n.Load())
	}
	wg.Wait()
	return errors.Join(err, ctl.Close(), removeSocket(o.Socket))
}

// stopServer ends all calls. Stop waits for their handlers, which a stuck
// build could hold for ever; the caller cleans up after those.
func stopServer(srv *grpc.Server, log *slog.Logger) {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		srv.Stop()
	}()
	select {
	case <-stopped:
	case <-time.After(stopGrace):
		log.Warn("a build did not end in time and is abandoned")
	}
}

// stepCounter counts the RUN steps under way.
type stepCounter struct {
	n     atomic.Int64
	ended func() // called after each step
}

// wait waits until none is under way, at most for limit.
func (c *stepCounter) wait(limit time.Duration) bool {
	deadline := time.Now().Add(limit)
	for c.n.Load() > 0 {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(5 * time.Millisecond)
	}
	return true
}

// lock takes the file lock that keeps two servers off one root.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open build lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: another image builder uses this directory", filepath.Dir(path))
		}
		return nil, fmt.Errorf("lock %s: %w", filepath.Dir(path), err)
	}
	return func() { _ = f.Close() }, nil
}

// listen makes the socket under another name and moves it in place, so that
// it is never there with wider permissions.
func listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make socket directory: %w", err)
	}
	tmp := path + "~"
	if err := removeSocket(tmp); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for builds: %w", err)
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(tmp, 0o600), os.Rename(tmp, path)); err != nil {
		return nil, errors.Join(fmt.Errorf("listen for builds: %w", err), l.Close())
	}
	return l, nil
}

func removeSocket(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove socket: %w", err)
	}
	return nil
}

var _ io.Closer = (*network)(nil)
