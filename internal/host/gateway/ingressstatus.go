package gateway

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/internal/host/gateway/route"
)

// ingressStatus is what a served Ingress says about where it is reached. Tools
// that judge health, Argo CD's rules among them, wait for it.
func ingressStatus(domain string, addr net.Addr) networkingv1.IngressLoadBalancerStatus {
	at := networkingv1.IngressLoadBalancerIngress{Hostname: domain}
	if tcp, ok := addr.(*net.TCPAddr); ok {
		at.Ports = []networkingv1.IngressPortStatus{{Port: int32(tcp.Port), Protocol: corev1.ProtocolTCP}}
	}
	return networkingv1.IngressLoadBalancerStatus{Ingress: []networkingv1.IngressLoadBalancerIngress{at}}
}

// statusWriter writes the status of served Ingresses that do not have it yet.
type statusWriter struct {
	clients *clients
	want    networkingv1.IngressLoadBalancerStatus
	log     *slog.Logger
	offered chan []*networkingv1.Ingress // the latest list that needs work
}

func newStatusWriter(c *clients, want networkingv1.IngressLoadBalancerStatus, log *slog.Logger) *statusWriter {
	return &statusWriter{clients: c, want: want, log: log, offered: make(chan []*networkingv1.Ingress, 1)}
}

// offer hands over the Ingresses as they are now. It does not block; a list not
// taken yet is replaced. Only one goroutine may call it.
func (s *statusWriter) offer(all []*networkingv1.Ingress) {
	var due []*networkingv1.Ingress
	for _, in := range all {
		if served, _ := route.Served(in); served && in.DeletionTimestamp == nil && !equality.Semantic.DeepEqual(in.Status.LoadBalancer, s.want) {
			due = append(due, in)
		}
	}
	select {
	case <-s.offered:
	default:
	}
	if len(due) > 0 {
		s.offered <- due
	}
}

// run writes until ctx ends. What failed is tried again after a pause, unless
// a newer list has come.
func (s *statusWriter) run(ctx context.Context) {
	var again []*networkingv1.Ingress
	for {
		var retry <-chan time.Time
		if len(again) > 0 {
			retry = time.After(5 * time.Second)
		}
		var due []*networkingv1.Ingress
		select {
		case due = <-s.offered:
		case <-retry:
			due = again
		case <-ctx.Done():
			return
		}
		again = slices.DeleteFunc(due, func(in *networkingv1.Ingress) bool { return s.write(ctx, in) })
	}
}

// write returns false when it should be tried again.
func (s *statusWriter) write(ctx context.Context, in *networkingv1.Ingress) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"loadBalancer": s.want}})
	if err != nil {
		s.log.Error("ingress status was not encoded", "err", err)
		return true
	}
	_, err = s.clients.networking.Ingresses(in.Namespace).Patch(ctx, in.Name, types.MergePatchType, patch,
		metav1.PatchOptions{FieldManager: "penstock-gateway"}, "status")
	switch {
	case err == nil, apierrors.IsNotFound(err):
		return true
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err):
		s.log.Warn("ingress status cannot be written", "ingress", in.Namespace+"/"+in.Name, "err", err)
		return true
	}
	s.log.Debug("ingress status was not written", "ingress", in.Namespace+"/"+in.Name, "err", err)
	return false
}
