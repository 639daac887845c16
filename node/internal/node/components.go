package node

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-dev/penstock/node/internal/apiserver"
	"github.com/penstock-dev/penstock/node/internal/buildinfo"
	"github.com/penstock-dev/penstock/node/internal/buildkit"
	"github.com/penstock-dev/penstock/node/internal/cni"
	"github.com/penstock-dev/penstock/node/internal/containerd"
	"github.com/penstock-dev/penstock/node/internal/controllers"
	"github.com/penstock-dev/penstock/node/internal/dns"
	"github.com/penstock-dev/penstock/node/internal/etcd"
	"github.com/penstock-dev/penstock/node/internal/host"
	"github.com/penstock-dev/penstock/node/internal/infra"
	"github.com/penstock-dev/penstock/node/internal/kubelet"
	"github.com/penstock-dev/penstock/node/internal/layout"
	"github.com/penstock-dev/penstock/node/internal/logs"
	"github.com/penstock-dev/penstock/node/internal/network"
	"github.com/penstock-dev/penstock/node/internal/pki"
	"github.com/penstock-dev/penstock/node/internal/probe"
	"github.com/penstock-dev/penstock/node/internal/proxy"
	"github.com/penstock-dev/penstock/node/internal/scheduler"
	"github.com/penstock-dev/penstock/node/internal/supervise"
)

const kubeletPort = 10250

// components returns what runs, those that others need first.
func (n *node) components() []supervise.Component {
	all := []supervise.Component{
		{Name: "etcd", Run: n.etcd, Stop: 10 * time.Second},
		{Name: "apiserver", After: []string{"etcd"}, Run: n.apiserver, Stop: time.Second},
		{Name: "bootstrap", After: []string{"apiserver"}, Run: n.bootstrap},
		{Name: "controllers", After: []string{"apiserver"}, Run: n.controllers},
		{Name: "scheduler", After: []string{"apiserver"}, Run: n.scheduler},
		{Name: "certificates", Run: n.certificates},
	}
	if n.APIOnly {
		return all
	}
	all = append(all,
		supervise.Component{Name: "containerd", Run: n.containerd},
		supervise.Component{Name: "images", After: []string{"containerd"}, Run: n.infraImages},
		supervise.Component{Name: "kubelet", After: []string{"apiserver", "containerd"}, Run: n.kubelet},
		supervise.Component{Name: "proxy", After: []string{"apiserver"}, Run: n.proxy},
		supervise.Component{Name: "dns", After: []string{"apiserver"}, Run: n.dns},
		supervise.Component{Name: "volumes", After: []string{"apiserver"}, Run: n.volumes},
		supervise.Component{Name: "pods", After: []string{"apiserver", "images"}, Run: n.probe},
	)
	if !n.NoBuilder {
		all = append(all, supervise.Component{Name: "builder", Run: n.builder, Stop: 15 * time.Second})
	}
	return all
}

func (n *node) etcd(ctx context.Context, ready func()) error {
	return etcd.Run(ctx, etcd.Options{Dir: n.dir.Etcd(), Socket: n.dir.EtcdSocket(), PeerSocket: n.dir.EtcdPeerSocket(), Log: logs.Quiet(n.Log.With("component", "etcd"))}, ready)
}

func (n *node) apiserver(ctx context.Context, ready func()) error {
	return apiserver.Run(ctx, apiserver.Options{
		Listener: n.listener, EtcdSocket: n.dir.EtcdSocket(), PKI: n.pki, ServiceCIDR: n.ServiceCIDR,
		Issuer: "https://kubernetes.default.svc." + n.Domain, Alone: n.APIOnly, Bootstrapped: n.bootstrapped(),
	}, ready)
}

// bootstrapFile says which version of Kubernetes has put its own objects into
// etcd. With the same one again, the others need not wait for them.
const bootstrapFile = "bootstrapped"

func (n *node) bootstrapped() bool {
	b, err := os.ReadFile(n.dir.Path(bootstrapFile))
	return err == nil && string(b) == buildinfo.Get().Kubernetes+"\n"
}

// bootstrap waits until the apiserver says that its own objects are in place.
func (n *node) bootstrap(ctx context.Context, ready func()) error {
	for {
		err := n.client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
		if err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(20 * time.Millisecond):
		}
	}
	if err := layout.WriteFile(n.dir.Path(bootstrapFile), []byte(buildinfo.Get().Kubernetes+"\n"), 0o644); err != nil {
		return fmt.Errorf("note the version: %w", err)
	}
	ready()
	<-ctx.Done()
	return nil
}

func (n *node) controllers(ctx context.Context, ready func()) error {
	return n.until(ctx, ready, n.hasServiceAccount, func(ctx context.Context) error {
		return controllers.Run(ctx, controllers.Options{
			Kubeconfig: n.kubeconfig(pki.Controllers), PKI: n.pki, ServiceCIDR: n.ServiceCIDR, VolumePluginDir: n.dir.Path("kubelet", "volumeplugins"),
		})
	})
}

func (n *node) scheduler(ctx context.Context, ready func()) error {
	// That it schedules is shown by the probe.
	ready()
	return scheduler.Run(ctx, n.kubeconfig(pki.Scheduler))
}

// until runs work and calls ready when is says so.
func (n *node) until(ctx context.Context, ready func(), is func(context.Context) bool, work func(context.Context) error) error {
	ended := make(chan error, 1)
	go func() { ended <- work(ctx) }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !is(ctx) {
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
			return <-ended
		case <-tick.C:
		}
	}
	ready()
	return <-ended
}

// hasServiceAccount says whether Pods can be created in the default namespace:
// the controllers make the account that they run as.
func (n *node) hasServiceAccount(ctx context.Context) bool {
	_, err := n.client.CoreV1().ServiceAccounts(corev1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
	return err == nil
}

func (n *node) containerd(ctx context.Context, ready func()) error {
	conf := n.dir.Path("cni", "net.d")
	err := cni.Write(conf, cni.Params{
		Name: "penstock-" + n.dir.ID(), Bridge: n.Bridge, PodCIDR: n.PodCIDR, Gateway: n.plan.Node.String(),
		MTU: network.MTU(), DataDir: n.dir.Path("cni", "addresses"),
	})
	if err != nil {
		return err
	}
	return containerd.Run(ctx, containerd.Options{
		Binary: n.facts.Containerd, Dir: n.dir.Containerd(), PIDFile: n.dir.ContainerdPID(),
		LogFile: filepath.Join(n.dir.Log(), "containerd.log"), Log: n.Log.With("component", "containerd"),
		Params: containerd.Params{
			Root: n.dir.Path("containerd", "root"), State: n.dir.ContainerdState(), Socket: n.dir.ContainerdSocket(),
			CNIBin: n.facts.CNIBin, CNIConf: conf, Runc: n.facts.Runc, PauseImage: infra.PauseImage, HostsDir: n.registry.HostsDir(),
			RestrictOOM: !n.facts.SysResource, AppArmor: n.facts.AppArmor,
		},
	}, ready)
}

// infraImages puts the node's own images into containerd if they are not
// there, and again if somebody took them away.
func (n *node) infraImages(ctx context.Context, ready func()) error {
	list, err := infra.Images()
	if err != nil {
		return err
	}
	for {
		for _, i := range list {
			if n.images.Has(ctx, i.Name, i.Manifest) {
				continue
			}
			if _, err := n.images.Import(ctx, i.Name, i.Reader()); err != nil && ctx.Err() == nil {
				return fmt.Errorf("import %s: %w", i.Name, err)
			}
		}
		ready()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Minute):
		}
	}
}

func (n *node) kubelet(ctx context.Context, ready func()) error {
	if err := host.MakeCgroup(n.dir.CgroupRoot()); err != nil {
		return err
	}
	hostDNS, _ := os.ReadFile(dns.HostResolvConf()) // without one, Pods ask the cluster's
	resolv := n.dir.Path("kubelet", "resolv.conf")
	if err := layout.WriteFile(resolv, []byte(dns.ForPods(string(hostDNS), n.plan.DNS.String())), 0o644); err != nil {
		return fmt.Errorf("write resolv.conf: %w", err)
	}
	conf, err := kubelet.Config(kubelet.Params{
		NodeIP: n.plan.Node.String(), Port: kubeletPort, ClientCA: n.pki.Cert(pki.CA),
		Cert: n.pki.Cert(pki.KubeletServer), Key: n.pki.Key(pki.KubeletServer),
		ClusterDNS: n.plan.DNS.String(), ClusterDomain: n.Domain, PodCIDR: n.PodCIDR, ResolvConf: resolv,
		CgroupRoot: n.dir.CgroupRoot(), CgroupV2: n.facts.CgroupV2, Containerd: n.dir.ContainerdSocket(),
		PodLogs: n.dir.PodLogs(), VolumePlugins: n.dir.Path("kubelet", "volumeplugins"), MaxPods: int32(n.MaxPods),
	})
	if err != nil {
		return err
	}
	file := n.dir.Path("kubelet", "config.yaml")
	if err := layout.WriteFile(file, conf, 0o600); err != nil {
		return fmt.Errorf("write the kubelet's configuration: %w", err)
	}
	return kubelet.Run(ctx, kubelet.Options{
		ConfigFile: file, Kubeconfig: n.kubeconfig(pki.Kubelet), RootDir: n.dir.Kubelet(), CertDir: n.dir.Path("kubelet", "pki"),
		NodeName: n.Name, NodeIP: n.plan.Node.String(), Containerd: n.dir.ContainerdSocket(), LogLinks: n.dir.ContainerLogLinks(), Client: n.client,
	}, ready)
}

func (n *node) proxy(ctx context.Context, ready func()) error {
	return proxy.Run(ctx, proxy.Options{
		Kubeconfig: n.kubeconfig(pki.Proxy), NodeName: n.Name, NodeIP: n.plan.Node.String(), PodCIDR: n.PodCIDR,
		MasqueradeAll: !n.facts.BridgeNF, APIService: net.JoinHostPort(n.plan.API.String(), "443"),
	}, ready)
}

func (n *node) dns(ctx context.Context, ready func()) error {
	return dns.Run(ctx, dns.Options{
		Client: n.client, ServiceIP: n.plan.DNS.String(), Log: n.Log.With("component", "dns"),
		Capture: func() { n.Capture.Kubernetes() },
		Params: dns.Params{
			Bind: n.plan.Node.String(), Port: dns.Port, Domain: n.Domain, Kubeconfig: n.kubeconfig(pki.DNS),
			NodeIP: n.plan.Node.String(), ResolvConf: dns.HostResolvConf(),
		},
	}, ready)
}

func (n *node) probe(ctx context.Context, ready func()) error {
	return probe.Run(ctx, n.client, n.Log.With("component", "pods"), ready)
}

func (n *node) builder(ctx context.Context, ready func()) error {
	o, err := n.builderOptions()
	if err != nil {
		return err
	}
	return buildkit.New(o).Run(ctx, ready)
}

func (n *node) builderOptions() (buildkit.Options, error) {
	subnet, err := netip.ParsePrefix(n.BuilderCIDR)
	if err != nil {
		return buildkit.Options{}, fmt.Errorf("read --builder-cidr: %w", err)
	}
	return buildkit.Options{
		Root: n.dir.BuildKit(), Socket: n.dir.BuildKitSocket(), Runc: n.facts.Runc,
		Bridge: n.BuilderBridge, Subnet: subnet, Deny: []netip.Prefix{n.plan.Pods, n.plan.Services}, Registry: n.registry,
		Log: logs.Quiet(n.Log.With("component", "builder")),
	}, nil
}

// certificates issues leaves again before they end. Who uses one reads it from
// its file when it has changed.
func (n *node) certificates(ctx context.Context, ready func()) error {
	ready()
	for {
		select {
		case <-ctx.Done():
			return nil
		// Short, not until the next renewal: timers stand still while a
		// laptop sleeps, and the clock may be set.
		case <-time.After(time.Minute):
		}
		if n.pki.Now().Before(n.pki.NextRenewal(n.leaves)) {
			continue
		}
		issued, err := n.pki.Ensure(n.leaves)
		if err != nil {
			n.Log.Error("certificates could not be renewed", "error", err)
			continue
		}
		n.Log.Info("certificates renewed", "names", issued)
	}
}

func (n *node) volumes(ctx context.Context, ready func()) error { return n.provisions.Run(ctx, ready) }
