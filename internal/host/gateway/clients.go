package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	discoveryv1 "k8s.io/client-go/kubernetes/typed/discovery/v1"
	networkingv1 "k8s.io/client-go/kubernetes/typed/networking/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/penstock-dev/penstock/internal/base/buildinfo"
)

// clients reach the kinds that routing reads.
type clients struct {
	services, slices, ingresses, namespaces *cache.ListWatch

	networking *networkingv1.NetworkingV1Client
	dynamic    dynamic.Interface
}

func newClients(kubeconfig string) (*clients, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	cfg.UserAgent = "penstock-gateway/" + buildinfo.Get().Version
	cfg.ContentType = runtime.ContentTypeProtobuf
	core, err := corev1.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("make a client of the cluster: %w", err)
	}
	discovery, err := discoveryv1.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("make a client of the cluster: %w", err)
	}
	networking, err := networkingv1.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("make a client of the cluster: %w", err)
	}
	others, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("make a client of the cluster: %w", err)
	}
	all := fields.Everything()
	return &clients{
		services:   cache.NewListWatchFromClient(core.RESTClient(), "services", metav1.NamespaceAll, all),
		slices:     cache.NewListWatchFromClient(discovery.RESTClient(), "endpointslices", metav1.NamespaceAll, all),
		ingresses:  cache.NewListWatchFromClient(networking.RESTClient(), "ingresses", metav1.NamespaceAll, all),
		namespaces: cache.NewListWatchFromClient(core.RESTClient(), "namespaces", metav1.NamespaceAll, all),
		networking: networking,
		dynamic:    others,
	}, nil
}

// newReflector copies one kind into store. It tries again within a second: the
// usual pause of up to half a minute would leave stale endpoints in use after
// a restart of the node.
func newReflector(name string, lw cache.ListerWatcher, kind any, store cache.ReflectorStore, log *slog.Logger) *cache.Reflector {
	quiet := logr.FromSlogHandler(demoted{log.Handler()})
	return cache.NewReflectorWithOptions(lw, kind, store, cache.ReflectorOptions{
		Name:    "gateway " + name,
		Logger:  &quiet,
		Backoff: &wait.Backoff{Duration: 100 * time.Millisecond, Cap: time.Second, Steps: 5, Factor: 2, Jitter: 0.2},
	})
}

// quietly gives ctx a logger for client-go.
func quietly(ctx context.Context, log *slog.Logger) context.Context {
	return klog.NewContext(ctx, logr.FromSlogHandler(demoted{log.Handler()}))
}

// demoted turns what client-go has to say about each failed attempt into debug
// messages: the watcher logs when the API server goes and comes.
type demoted struct{ slog.Handler }

func (d demoted) Enabled(ctx context.Context, _ slog.Level) bool {
	return d.Handler.Enabled(ctx, slog.LevelDebug)
}

func (d demoted) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return d.Handler.Handle(ctx, r)
}

func (d demoted) WithAttrs(a []slog.Attr) slog.Handler { return demoted{d.Handler.WithAttrs(a)} }
func (d demoted) WithGroup(g string) slog.Handler      { return demoted{d.Handler.WithGroup(g)} }

// observed reports whether requests to the API server succeed.
type observed struct {
	*cache.ListWatch
	seen func(error)
}

func (o *observed) ListWithContext(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
	list, err := o.ListWatch.ListWithContext(ctx, opts)
	o.seen(err)
	return list, err
}

func (o *observed) WatchWithContext(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	w, err := o.ListWatch.WatchWithContext(ctx, opts)
	o.seen(err)
	return w, err
}
