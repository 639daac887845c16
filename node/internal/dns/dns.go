// Package dns runs CoreDNS as a library: the cluster's names for Pods, and the
// machine's resolvers for all others. It runs in the machine's network, so
// resolvers that listen on its loopback work too.
package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"
	applydiscovery "k8s.io/client-go/applyconfigurations/discovery/v1"
	"k8s.io/client-go/kubernetes"

	// The plugins that the configuration names.
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/template"
)

// Port is where CoreDNS listens on the node's address; the Service translates
// 53 to it, since 53 itself may be taken by a resolver of the machine.
const Port = 10053

const (
	service   = "kube-dns" // the name that tools look for
	namespace = metav1.NamespaceSystem
	manager   = "penstock"
)

// Options say how DNS runs.
type Options struct {
	Params    Params
	Client    kubernetes.Interface
	ServiceIP string
	Log       *slog.Logger
	// Capture takes the process-wide Kubernetes logger back: CoreDNS's plugin
	// sets its own each time that it is set up.
	Capture func()
}

var quiet = sync.OnceFunc(func() {
	dnsserver.Quiet = true
	caddy.Quiet = true
})

// Run runs DNS until ctx is done.
func Run(ctx context.Context, o Options, ready func()) error {
	quiet()
	if err := publish(ctx, o); err != nil {
		return err
	}
	last := resolvers(o.Params.ResolvConf)
	instance, err := start(o.Params, last)
	o.Capture()
	if err != nil {
		return err
	}
	defer func() {
		for _, err := range instance.ShutdownCallbacks() {
			o.Log.Debug("dns ended with an error", "error", err)
		}
		if err := instance.Stop(); err != nil {
			o.Log.Debug("dns ended with an error", "error", err)
		}
	}()
	if err := answers(ctx, o.Params); err != nil {
		return err
	}
	ready()
	// CoreDNS reads the resolvers once; a laptop changes them with its network.
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := resolvers(o.Params.ResolvConf)
		if now == last {
			continue
		}
		next, err := instance.Restart(input(o.Params, now))
		o.Capture()
		if err != nil {
			o.Log.Warn("dns keeps the old resolvers, the new ones cannot be used", "file", o.Params.ResolvConf, "error", err)
		} else {
			instance = next
		}
		last = now
	}
}

// resolvers returns what decides about forwarding: the file's content, or ""
// if it names nobody.
func resolvers(file string) string {
	b, err := os.ReadFile(file)
	if err != nil || !names(string(b)) {
		return ""
	}
	return string(b)
}

func input(p Params, resolvers string) caddy.Input {
	if resolvers == "" {
		p.ResolvConf = ""
	}
	return caddy.CaddyfileInput{Filepath: "Corefile", Contents: []byte(Corefile(p)), ServerTypeName: "dns"}
}

func start(p Params, resolvers string) (*caddy.Instance, error) {
	i, err := caddy.Start(input(p, resolvers))
	if err != nil {
		return nil, fmt.Errorf("start the dns server: %w", err)
	}
	return i, nil
}

// answers waits until the name of the apiserver's Service resolves.
func answers(ctx context.Context, p Params) error {
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, net.JoinHostPort(p.Bind, strconv.Itoa(p.Port)))
	}}
	for {
		try, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		_, err := r.LookupHost(try, "kubernetes.default.svc."+p.Domain+".")
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// publish makes the Service that Pods ask, and the one endpoint behind it.
func publish(ctx context.Context, o Options) error {
	labels := map[string]string{"k8s-app": service, "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}
	apply := metav1.ApplyOptions{FieldManager: manager, Force: true}
	port := func(name string, proto corev1.Protocol) *applycore.ServicePortApplyConfiguration {
		return applycore.ServicePort().WithName(name).WithProtocol(proto).WithPort(53)
	}
	svc := applycore.Service(service, namespace).WithLabels(labels).WithSpec(applycore.ServiceSpec().
		WithClusterIP(o.ServiceIP).WithPorts(port("dns", corev1.ProtocolUDP), port("dns-tcp", corev1.ProtocolTCP)))
	if _, err := o.Client.CoreV1().Services(namespace).Apply(ctx, svc, apply); err != nil {
		return fmt.Errorf("publish the dns service: %w", err)
	}
	end := func(name string, proto corev1.Protocol) *applydiscovery.EndpointPortApplyConfiguration {
		return applydiscovery.EndpointPort().WithName(name).WithProtocol(proto).WithPort(int32(o.Params.Port))
	}
	slice := applydiscovery.EndpointSlice(service+"-penstock", namespace).
		WithLabels(map[string]string{discoveryv1.LabelServiceName: service, discoveryv1.LabelManagedBy: "penstock.dev"}).
		WithAddressType(discoveryv1.AddressTypeIPv4).
		WithPorts(end("dns", corev1.ProtocolUDP), end("dns-tcp", corev1.ProtocolTCP)).
		WithEndpoints(applydiscovery.Endpoint().WithAddresses(o.Params.Bind).WithConditions(applydiscovery.EndpointConditions().WithReady(true)))
	if _, err := o.Client.DiscoveryV1().EndpointSlices(namespace).Apply(ctx, slice, apply); err != nil {
		return fmt.Errorf("publish the dns endpoint: %w", err)
	}
	return nil
}
