// Package cluster is the connection to a Kubernetes cluster: clients, what
// kinds it has, and writing objects as the field manager "penstock".
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// FieldManager owns the fields that Penstock writes.
const FieldManager = "penstock"

// Limits of the client. The API server's own priority and fairness decides
// who waits; these only keep a mistake of ours from flooding it.
const (
	qps   = 300
	burst = 600
	// requestTimeout bounds a request that is not a watch.
	requestTimeout = 30 * time.Second
	// rediscoverAfter is how old the list of kinds may be when a kind is not
	// in it.
	rediscoverAfter = time.Second
)

// Cluster is one cluster. It is safe for concurrent use.
type Cluster struct {
	Config  *rest.Config
	Dynamic dynamic.Interface

	discovery discovery.DiscoveryInterface
	now       func() time.Time

	mu         sync.Mutex
	mapper     *restmapper.DeferredDiscoveryRESTMapper
	discovered time.Time
}

// Config reads a kubeconfig file; with an empty path the pod's own account is
// used.
func Config(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		c, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("use the pod's own account: %w", err)
		}
		return c, nil
	}
	c, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &problem.Error{Op: "read kubeconfig", Subject: kubeconfig, Err: problem.ErrNotFound, Hint: "penstock up", Code: problem.ExitFailed}
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, &problem.Error{Op: "read kubeconfig", Subject: kubeconfig, Err: os.ErrPermission, Hint: "the cluster's administrator file belongs to root: use sudo, or --kubeconfig with your own", Code: problem.ExitAuth}
	}
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", kubeconfig, err)
	}
	return c, nil
}

// New returns the cluster of config. It makes no request yet.
func New(config *rest.Config) (*Cluster, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = qps, burst
	config.UserAgent = rest.DefaultKubernetesUserAgent()
	// Warnings of the API server about users' objects are not our log lines.
	config.WarningHandlerWithContext = rest.NoWarnings{}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	short := rest.CopyConfig(config)
	short.Timeout = requestTimeout
	disc, err := discovery.NewDiscoveryClientForConfig(short)
	if err != nil {
		return nil, fmt.Errorf("make a discovery client: %w", err)
	}
	return &Cluster{
		Config: config, Dynamic: dyn, discovery: disc, now: time.Now,
		mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(disc)),
	}, nil
}

// WaitReady waits until the API server answers that it is ready, for as long
// as ctx allows.
func (c *Cluster) WaitReady(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := c.discovery.RESTClient().Get().AbsPath("/readyz").DoRaw(try)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for the API server: %w (last answer: %w)", ctx.Err(), err)
		}
	}
}

// Mapping returns the resource and scope of a kind. A kind that is not known
// is looked for again: its definition may be new. meta.IsNoMatchError tells
// that the cluster does not have it.
func (c *Cluster) Mapping(gvk schema.GroupVersionKind) (*meta.RESTMapping, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.discovered.IsZero() {
		c.discovered = c.now()
	}
	m, err := c.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if meta.IsNoMatchError(err) && c.now().Sub(c.discovered) > rediscoverAfter {
		c.rediscover()
		m, err = c.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	}
	if err != nil {
		return nil, fmt.Errorf("find kind %s: %w", gvk.GroupKind(), err)
	}
	return m, nil
}

// Rediscover forgets the kinds that are known. Call it after a definition was
// applied.
func (c *Cluster) Rediscover() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rediscover()
}

func (c *Cluster) rediscover() {
	c.mapper.Reset()
	c.discovered = c.now()
}

// Resource returns the client for objects of a kind in a namespace, which is
// ignored for kinds that have none.
func (c *Cluster) Resource(gvk schema.GroupVersionKind, namespace string) (dynamic.ResourceInterface, error) {
	m, err := c.Mapping(gvk)
	if err != nil {
		return nil, err
	}
	if m.Scope.Name() == meta.RESTScopeNameRoot {
		return c.Dynamic.Resource(m.Resource), nil
	}
	return c.Dynamic.Resource(m.Resource).Namespace(namespace), nil
}

// Client returns the client for u.
func (c *Cluster) Client(u *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	return c.Resource(u.GroupVersionKind(), u.GetNamespace())
}
