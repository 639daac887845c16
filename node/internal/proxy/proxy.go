// Package proxy runs the unmodified kube-proxy in this process and removes its
// rules at the end.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/kubernetes/cmd/kube-proxy/app"

	"github.com/penstock-dev/penstock/node/internal/kubeflags"
)

// Options say how kube-proxy runs.
type Options struct {
	Kubeconfig string
	NodeName   string
	NodeIP     string
	PodCIDR    string
	// MasqueradeAll is for kernels whose bridges do not pass through iptables:
	// without it an answer between two Pods would bypass the translation.
	MasqueradeAll bool
	// APIService is the address of the Service "kubernetes": when it answers,
	// the rules are in place.
	APIService string
}

// Run runs kube-proxy until ctx is done. It leaves the rules: connections to
// Services survive a restart of this process.
func Run(ctx context.Context, o Options, ready func()) error {
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, flags(o)) }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for reached := false; !reached; {
		select {
		case err := <-ended:
			return orUnasked(err)
		case <-ctx.Done():
			return nil
		case <-tick.C:
			reached = dials(ctx, o.APIService)
		}
	}
	ready()
	select {
	case err := <-ended:
		return orUnasked(err)
	case <-ctx.Done():
		return nil
	}
}

func orUnasked(err error) error {
	if err == nil {
		return errors.New("ended")
	}
	return err
}

func dials(ctx context.Context, addr string) bool {
	d := net.Dialer{Timeout: 100 * time.Millisecond}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// Cleanup removes every rule that kube-proxy made in this network namespace.
func Cleanup(ctx context.Context) error {
	return run(ctx, map[string]string{"cleanup": "true", "proxy-mode": "iptables"})
}

func run(ctx context.Context, values map[string]string) error {
	s := app.NewOptions()
	var fs *pflag.FlagSet
	add := func(f *pflag.FlagSet) {
		s.AddFlags(f)
		fs = f
	}
	if err := kubeflags.Parse("kube-proxy", add, values); err != nil {
		return err
	}
	if err := s.Complete(fs); err != nil {
		return fmt.Errorf("complete options: %w", err)
	}
	if err := s.Validate(); err != nil {
		return fmt.Errorf("validate options: %w", err)
	}
	return s.Run(ctx)
}

func flags(o Options) map[string]string {
	f := map[string]string{
		"kubeconfig":           o.Kubeconfig,
		"hostname-override":    o.NodeName,
		"bind-address":         o.NodeIP,
		"proxy-mode":           "iptables",
		"cluster-cidr":         o.PodCIDR,
		"detect-local-mode":    "ClusterCIDR",
		"healthz-bind-address": "",
		"metrics-bind-address": net.JoinHostPort(o.NodeIP, "10249"),
		// Node ports answer on the node's address, never on the machine's LAN;
		// and not on loopback, which would need route_localnet.
		"nodeport-addresses":           o.NodeIP + "/32",
		"iptables-localhost-nodeports": "false",
		// The machine's connection tracking is not ours to tune.
		"conntrack-max-per-core":            "0",
		"conntrack-min":                     "0",
		"conntrack-tcp-timeout-established": "0s",
		"conntrack-tcp-timeout-close-wait":  "0s",
		"iptables-min-sync-period":          "100ms",
	}
	if o.MasqueradeAll {
		f["masquerade-all"] = "true"
	}
	return f
}
