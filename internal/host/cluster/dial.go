package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Dialer connects to the addresses that stand in users' objects: the Prometheus
// of an AnalysisTemplate, the registry of an image, a webhook. It knows the
// names of a cluster, which the machine's resolver does not, and the names below
// .localhost, which are this machine.
type Dialer struct {
	cluster *Cluster
	o       DialOptions
	direct  net.Dialer
}

// DialOptions say where this process is.
type DialOptions struct {
	// PodNetwork says that Pods can be reached by their addresses: this is the
	// machine of the embedded cluster, or a Pod of the cluster. Otherwise
	// connections go through the API server, which needs the right to create
	// pods/portforward.
	PodNetwork bool
	Domain     string // of the cluster, default "cluster.local"
	// Localhost is where names below .localhost lead, default 127.0.0.1.
	Localhost string
}

// connectTimeout bounds the connecting to one endpoint.
const connectTimeout = 10 * time.Second

// Dialer makes a dialer. A nil Cluster is one without names.
func (c *Cluster) Dialer(o DialOptions) *Dialer {
	if o.Domain == "" {
		o.Domain = Domain
	}
	if o.Localhost == "" {
		o.Localhost = "127.0.0.1"
	}
	return &Dialer{cluster: c, o: o, direct: net.Dialer{Timeout: connectTimeout}}
}

// DialContext connects to host:port.
func (d *Dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("%w: address %q: %w", problem.ErrInvalid, addr, err)
	}
	p := parsePlace(host, d.o.Domain)
	switch {
	case p.kind == thisMachine:
		return d.direct.DialContext(ctx, network, net.JoinHostPort(d.o.Localhost, port))
	case p.kind == elsewhere || d.cluster == nil && !p.sure:
		return d.direct.DialContext(ctx, network, addr)
	case d.cluster == nil:
		return nil, fmt.Errorf("%w: %s is a name of a cluster, and there is none", problem.ErrNotFound, host)
	}
	number, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("%w: port %q", problem.ErrInvalid, port)
	}
	if p.kind == aPod {
		return d.connect(ctx, network, []target{{ip: p.ip, port: int32(number)}})
	}
	targets, external, err := d.cluster.endpoints(ctx, p, int32(number))
	switch {
	case errors.Is(err, problem.ErrNotFound) && !p.sure:
		return d.direct.DialContext(ctx, network, addr)
	case err != nil:
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	case external != "":
		return d.direct.DialContext(ctx, network, net.JoinHostPort(external, port))
	}
	rand.Shuffle(len(targets), func(i, j int) { targets[i], targets[j] = targets[j], targets[i] }) //nolint:gosec // to spread load
	c, err := d.connect(ctx, network, targets)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	return c, nil
}

// connect tries one endpoint after the other.
func (d *Dialer) connect(ctx context.Context, network string, targets []target) (net.Conn, error) {
	const most = 3
	var errs []error
	for _, t := range targets[:min(len(targets), most)] {
		var c net.Conn
		var err error
		if d.o.PodNetwork {
			c, err = d.direct.DialContext(ctx, network, net.JoinHostPort(t.ip, strconv.Itoa(int(t.port))))
		} else {
			c, err = d.cluster.forward(ctx, t)
		}
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// target is one endpoint of a Service.
type target struct {
	ip             string
	port           int32
	namespace, pod string // that it is; empty for one that is no Pod
}

// endpoints finds where a Service leads; external is the name that one without
// endpoints stands for.
func (c *Cluster) endpoints(ctx context.Context, p place, port int32) (targets []target, external string, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	u, err := c.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "services"}).Namespace(p.namespace).Get(ctx, p.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, "", fmt.Errorf("service %s/%s %w", p.namespace, p.name, problem.ErrNotFound)
	}
	if err != nil {
		return nil, "", fmt.Errorf("read service %s/%s: %w", p.namespace, p.name, err)
	}
	var s corev1.Service
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &s); err != nil {
		return nil, "", fmt.Errorf("read service %s/%s: %w", p.namespace, p.name, err)
	}
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		return nil, s.Spec.ExternalName, nil
	}
	list, err := c.Dynamic.Resource(discoveryv1.SchemeGroupVersion.WithResource("endpointslices")).Namespace(p.namespace).
		List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + p.name})
	if err != nil {
		return nil, "", fmt.Errorf("read endpoints of service %s/%s: %w", p.namespace, p.name, err)
	}
	slices := make([]discoveryv1.EndpointSlice, len(list.Items))
	for i, item := range list.Items {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(item.Object, &slices[i]); err != nil {
			return nil, "", fmt.Errorf("read endpoints of service %s/%s: %w", p.namespace, p.name, err)
		}
	}
	targets, err = choose(&s, slices, p.hostname, port)
	return targets, "", err
}

// choose finds the ready endpoints of a Service for one of its ports.
func choose(s *corev1.Service, slices []discoveryv1.EndpointSlice, hostname string, port int32) ([]target, error) {
	name, found := "", s.Spec.ClusterIP == corev1.ClusterIPNone // whose names are those of Pods, with all their ports
	for _, p := range s.Spec.Ports {
		if p.Port == port && (p.Protocol == "" || p.Protocol == corev1.ProtocolTCP) {
			name, found = p.Name, true
		}
	}
	if !found {
		return nil, fmt.Errorf("%w: service %s/%s has no port %d", problem.ErrNotFound, s.Namespace, s.Name, port)
	}
	var out []target
	for _, slice := range slices {
		at := port
		if s.Spec.ClusterIP != corev1.ClusterIPNone {
			var ok bool
			if at, ok = portNamed(slice.Ports, name); !ok {
				continue
			}
		}
		for _, e := range slice.Endpoints {
			ready := e.Conditions.Ready == nil || *e.Conditions.Ready || s.Spec.PublishNotReadyAddresses
			if !ready || len(e.Addresses) == 0 || hostname != "" && (e.Hostname == nil || *e.Hostname != hostname) {
				continue
			}
			t := target{ip: e.Addresses[0], port: at}
			if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
				t.namespace, t.pod = e.TargetRef.Namespace, e.TargetRef.Name
			}
			out = append(out, t)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("service %s/%s has no ready endpoint for port %d", s.Namespace, s.Name, port)
	}
	return out, nil
}

func portNamed(ports []discoveryv1.EndpointPort, name string) (int32, bool) {
	for _, p := range ports {
		if p.Port != nil && (p.Name == nil && name == "" || p.Name != nil && *p.Name == name) && (p.Protocol == nil || *p.Protocol == corev1.ProtocolTCP) {
			return *p.Port, true
		}
	}
	return 0, false
}
