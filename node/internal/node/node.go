package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/penstock-dev/penstock/node/internal/apiserver"
	"github.com/penstock-dev/penstock/node/internal/buildinfo"
	"github.com/penstock-dev/penstock/node/internal/control"
	"github.com/penstock-dev/penstock/node/internal/fault"
	"github.com/penstock-dev/penstock/node/internal/host"
	"github.com/penstock-dev/penstock/node/internal/images"
	"github.com/penstock-dev/penstock/node/internal/kubeconfig"
	"github.com/penstock-dev/penstock/node/internal/layout"
	"github.com/penstock-dev/penstock/node/internal/network"
	"github.com/penstock-dev/penstock/node/internal/pki"
	"github.com/penstock-dev/penstock/node/internal/registry"
	"github.com/penstock-dev/penstock/node/internal/supervise"
	"github.com/penstock-dev/penstock/node/internal/volumes"
)

// node is what the components share.
type node struct {
	Config
	dir      layout.Dir
	plan     network.Plan
	facts    host.Facts // zero with APIOnly
	pki      *pki.Store
	leaves   []pki.Leaf
	listener net.Listener // of the apiserver
	images   *images.Store
	registry *registry.Config     // nil with APIOnly
	client   kubernetes.Interface // of our own parts; set when the kubeconfigs are

	provisions *volumes.Provisions // unless APIOnly
}

// Run runs the node until ctx is done, or until somebody asks over the control
// socket for the stop: then stop is true and Stop must follow in a fresh
// process.
func Run(ctx context.Context, c Config) (stop bool, err error) {
	n := &node{Config: c}
	if n.plan, err = c.check(); err != nil {
		return false, err
	}
	if !c.APIOnly {
		if n.facts, err = host.Look(); err != nil {
			return false, err
		}
	}
	if n.dir, err = layout.Open(c.DataDir); err != nil {
		return false, err
	}
	lock, err := n.prepare(ctx)
	if err != nil {
		return false, err
	}
	defer lock.Release()

	runCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, err := supervise.New(c.Log, c.Started, n.components())
	if err != nil {
		return false, err
	}
	// Everything before this point is quick; from here on others can ask how
	// far the start is.
	if err := n.listen(); err != nil {
		return false, err
	}
	if !c.APIOnly {
		n.provisions = volumes.New(runCtx, volumes.Options{Client: n.client, Dir: n.dir.Volumes()})
	}
	var stopping atomic.Bool
	srv := &control.Server{
		Socket: n.dir.ControlSocket(), Base: n.status(), State: g, Images: n.images, Registry: n.registry, Log: c.Log,
		Stop: func() { stopping.Store(true); cancel() },
	}
	sup, supCtx := errgroup.WithContext(context.WithoutCancel(ctx))
	serveCtx, stopServing := context.WithCancel(supCtx)
	defer stopServing()
	sup.Go(func() error { return srv.Run(serveCtx, func() {}) })
	sup.Go(func() error {
		defer stopServing()
		defer cancel() // ends the wait for ready, too
		gctx, stopGroup := context.WithCancel(runCtx)
		defer context.AfterFunc(gctx, c.Capture.Hold)()
		defer stopGroup()
		// The control socket failing ends the node too.
		defer context.AfterFunc(supCtx, stopGroup)()
		return g.Run(gctx)
	})
	sup.Go(func() error {
		if g.WaitReady(runCtx) == nil {
			c.Capture.Settle()
			all, _ := g.Status()
			c.Log.Info("node ready", "after", time.Since(c.Started).Round(time.Millisecond), "kubernetes", n.status().KubernetesVersion, "components", len(all))
			if c.OnReady != nil {
				c.OnReady()
			}
		}
		return nil
	})
	err = sup.Wait()
	if err != nil {
		c.Capture.Replay()
	}
	return stopping.Load(), err
}

// prepare takes the directory and writes what the components read.
func (n *node) prepare(ctx context.Context) (*layout.Lock, error) {
	if err := os.MkdirAll(string(n.dir), 0o711); err != nil {
		return nil, &fault.Error{Op: "create the data directory", Subject: string(n.dir), Err: err, Hint: "choose another with --data-dir, or run as root"}
	}
	// A predecessor that was told to end may need a moment.
	wait, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	lock, err := n.dir.Acquire(wait)
	if err != nil {
		return nil, err
	}
	if err = n.write(); err == nil {
		err = n.Config.save(n.dir)
	}
	if err != nil {
		lock.Release()
		return nil, err
	}
	return lock, nil
}

func (n *node) write() error {
	if err := n.dir.Prepare(); err != nil {
		return err
	}
	n.pki = &pki.Store{Dir: n.dir.PKI(), Now: time.Now}
	ip := n.apiIP()
	n.leaves = pki.ControlPlane([]net.IP{ip.AsSlice()}, n.plan.API.AsSlice(), n.Domain)
	if !n.APIOnly {
		n.leaves = append(n.leaves, pki.Node(n.Name, n.plan.Node.AsSlice())...)
		n.images = &images.Store{Socket: n.dir.ContainerdSocket(), Log: n.Log}
		var err error
		if n.registry, err = registry.Load(n.dir.Registry()); err != nil {
			return err
		}
	}
	issued, err := n.pki.Ensure(n.leaves)
	if err != nil {
		return err
	}
	if len(issued) > 0 {
		n.Log.Debug("certificates issued", "names", issued)
	}
	return nil
}

// apiIP is where the apiserver answers.
func (n *node) apiIP() netip.Addr {
	if n.APIOnly {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return n.plan.Node
}

// listen makes the network and takes the apiserver's port, then writes the
// kubeconfigs that name it.
func (n *node) listen() error {
	if !n.APIOnly {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := network.Setup(ctx, n.plan, n.owner(), n.facts.BridgeNF, n.Log); err != nil {
			return err
		}
	}
	port := n.APIServerPort
	if port == 0 {
		port = n.lastPort()
	}
	l, err := net.Listen("tcp", netip.AddrPortFrom(n.apiIP(), uint16(port)).String())
	if errors.Is(err, syscall.EADDRINUSE) && n.APIServerPort == 0 {
		l, err = net.Listen("tcp", netip.AddrPortFrom(n.apiIP(), 0).String())
	}
	if err != nil {
		return n.explainListen(err)
	}
	n.listener = l
	return n.kubeconfigs()
}

// lastPort is the port of the last start, so that a free one stays the same
// as long as it stays free.
func (n *node) lastPort() int {
	c, err := clientcmd.LoadFromFile(n.dir.AdminKubeconfig())
	if err != nil || c.Clusters["penstock"] == nil {
		return 0
	}
	_, port, err := net.SplitHostPort(c.Clusters["penstock"].Server[len("https://"):])
	if err != nil {
		return 0
	}
	p, _ := strconv.Atoi(port)
	return p
}

func (n *node) explainListen(err error) error {
	e := &fault.Error{Op: "listen for the apiserver", Err: err}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		e.Hint = fmt.Sprintf("another program has the port: see `ss -ltnp sport = :%d`, or choose one with --apiserver-port", n.APIServerPort)
	case errors.Is(err, syscall.EACCES):
		e.Hint = "ports below 1024 need root: choose one with --apiserver-port"
	}
	return e
}

func (n *node) kubeconfigs() error {
	url := apiserver.URL(n.listener)
	users := []string{pki.Controllers, pki.Scheduler}
	if !n.APIOnly {
		users = append(users, pki.Kubelet, pki.Proxy, pki.DNS)
	}
	client := func(user string) kubeconfig.Client {
		return kubeconfig.Client{Server: url, CAFile: n.pki.Cert(pki.CA), CertFile: n.pki.Cert(user), KeyFile: n.pki.Key(user), User: user}
	}
	for _, u := range users {
		if err := kubeconfig.Write(n.kubeconfig(u), client(u)); err != nil {
			return err
		}
	}
	if err := kubeconfig.Write(n.dir.AdminKubeconfig(), client(pki.Admin)); err != nil {
		return err
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", n.dir.AdminKubeconfig())
	if err != nil {
		return fmt.Errorf("read the kubeconfig: %w", err)
	}
	cfg = rest.AddUserAgent(cfg, "penstock-node")
	cfg.QPS = -1 // the apiserver is in this process
	if n.client, err = kubernetes.NewForConfig(cfg); err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	return nil
}

func (n *node) kubeconfig(user string) string {
	return filepath.Join(n.dir.Kubeconfigs(), user)
}

func (n *node) owner() string { return "penstock node " + n.dir.ID() }

func (n *node) status() control.Status {
	b := buildinfo.Get()
	s := control.Status{
		Version: b.Version, KubernetesVersion: b.Kubernetes, PID: os.Getpid(), StartedAt: n.Started,
		Paths: control.Paths{Kubeconfig: n.dir.AdminKubeconfig()},
	}
	if !n.APIOnly {
		s.Node = &control.Node{Name: n.Name, IP: n.plan.Node.String(), PodCIDR: n.PodCIDR, ServiceCIDR: n.ServiceCIDR, ClusterDNS: n.plan.DNS.String()}
		s.Paths.Containerd = n.dir.ContainerdSocket()
		if !n.NoBuilder {
			s.Paths.BuildKit = n.dir.BuildKitSocket()
		}
	}
	return s
}
