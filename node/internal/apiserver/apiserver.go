// Package apiserver runs the unmodified kube-apiserver in this process.
package apiserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"

	"github.com/penstock-dev/penstock/node/internal/kubeflags"
	"github.com/penstock-dev/penstock/node/internal/pki"
)

// Options say how the apiserver runs.
type Options struct {
	Listener    net.Listener // where it answers; Run closes it
	EtcdSocket  string
	PKI         *pki.Store
	ServiceCIDR string
	Issuer      string // of service account tokens
	// Alone says that there is no node: no endpoints of the Service
	// "kubernetes" are written, because nothing routes to a loopback address.
	Alone bool
	// Bootstrapped says that this version of Kubernetes has put its own objects
	// (roles, priorities) into this etcd before. They are checked again, which
	// begins a second after the start; others need not wait for that.
	Bootstrapped bool
}

// Run runs the apiserver until ctx is done.
func Run(ctx context.Context, o Options, ready func()) error {
	defer o.Listener.Close()
	s := options.NewServerRunOptions()
	if err := kubeflags.Parse("kube-apiserver", kubeflags.Named(s.Flags()), flags(o)); err != nil {
		return err
	}
	s.SecureServing.Listener = o.Listener
	if err := s.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return fmt.Errorf("set feature gates: %w", err)
	}
	completed, err := s.Complete(ctx)
	if err != nil {
		return fmt.Errorf("complete options: %w", err)
	}
	if errs := completed.Validate(); len(errs) != 0 {
		return fmt.Errorf("validate options: %w", utilerrors.NewAggregate(errs))
	}
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx, completed) }()
	probed := make(chan error, 1)
	go func() { probed <- waitReady(ctx, o) }()
	select {
	case err := <-ended:
		return err
	case err := <-probed:
		if err != nil {
			return errors.Join(err, <-ended)
		}
		ready()
	}
	return <-ended
}

func flags(o Options) map[string]string {
	host, port, _ := net.SplitHostPort(o.Listener.Addr().String())
	f := map[string]string{
		"bind-address":                       host,
		"secure-port":                        port,
		"advertise-address":                  host,
		"allow-privileged":                   "true",
		"authorization-mode":                 "Node,RBAC",
		"client-ca-file":                     o.PKI.Cert(pki.CA),
		"enable-admission-plugins":           "NodeRestriction",
		"enable-aggregator-routing":          "true",
		"etcd-servers":                       "unix://" + o.EtcdSocket,
		"kubelet-certificate-authority":      o.PKI.Cert(pki.CA),
		"kubelet-client-certificate":         o.PKI.Cert(pki.APIServerKubelet),
		"kubelet-client-key":                 o.PKI.Key(pki.APIServerKubelet),
		"kubelet-preferred-address-types":    "InternalIP",
		"profiling":                          "false",
		"proxy-client-cert-file":             o.PKI.Cert(pki.FrontProxy),
		"proxy-client-key-file":              o.PKI.Key(pki.FrontProxy),
		"requestheader-allowed-names":        "front-proxy-client",
		"requestheader-client-ca-file":       o.PKI.Cert(pki.FrontProxyCA),
		"requestheader-extra-headers-prefix": "X-Remote-Extra-",
		"requestheader-group-headers":        "X-Remote-Group",
		"requestheader-username-headers":     "X-Remote-User",
		"service-account-issuer":             o.Issuer,
		"service-account-key-file":           o.PKI.Key(pki.ServiceAccount),
		"service-account-signing-key-file":   o.PKI.Key(pki.ServiceAccount),
		"service-cluster-ip-range":           o.ServiceCIDR,
		"tls-cert-file":                      o.PKI.Cert(pki.APIServer),
		"tls-private-key-file":               o.PKI.Key(pki.APIServer),
	}
	if o.Alone {
		f["endpoint-reconciler-type"] = "none"
	}
	return f
}

// bootstrap are the parts of being ready that are about Kubernetes' own objects.
var bootstrap = []string{"poststarthook/rbac/bootstrap-roles", "poststarthook/scheduling/bootstrap-system-priority-classes"}

// Bounds of one question to /readyz. One that arrives before the server accepts
// connections is never answered, so it is better asked again soon; a busy
// machine needs longer.
const (
	firstAttempt = 100 * time.Millisecond
	maxAttempt   = 2 * time.Second
)

// waitReady asks /readyz until it says yes.
func waitReady(ctx context.Context, o Options) error {
	ca, err := os.ReadFile(o.PKI.Cert(pki.CA))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	pair, err := tls.LoadX509KeyPair(o.PKI.Cert(pki.Admin), o.PKI.Key(pki.Admin))
	if err != nil {
		return err
	}
	t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}}
	defer t.CloseIdleConnections()
	c := &http.Client{Transport: t, Timeout: firstAttempt}
	target := "https://" + o.Listener.Addr().String() + "/readyz"
	if o.Bootstrapped {
		target += "?" + url.Values{"exclude": bootstrap}.Encode()
	}
	for {
		if ok(c, target) {
			return nil
		}
		c.Timeout = min(c.Timeout*5/4, maxAttempt)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func ok(c *http.Client, target string) bool {
	resp, err := c.Get(target)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	return resp.StatusCode == http.StatusOK
}

// URL returns where l answers.
func URL(l net.Listener) string {
	a := l.Addr().(*net.TCPAddr)
	return "https://" + net.JoinHostPort(a.IP.String(), strconv.Itoa(a.Port))
}
