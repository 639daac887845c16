// Package kubelet runs the unmodified kubelet in this process. It cannot be
// stopped completely: some of its loops end only with the process, which is why
// a stop of the node ends in a fresh process image (package teardown).
package kubelet

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/kubernetes"
	"k8s.io/kubernetes/cmd/kubelet/app"
	"k8s.io/kubernetes/cmd/kubelet/app/options"
	upstream "k8s.io/kubernetes/pkg/kubelet"
	kubeletvalidation "k8s.io/kubernetes/pkg/kubelet/apis/config/validation"
	"k8s.io/kubernetes/pkg/kubelet/kubeletconfig/configfiles"
	utilfs "k8s.io/kubernetes/pkg/util/filesystem"
)

// Options say how the kubelet runs.
type Options struct {
	ConfigFile string
	Kubeconfig string
	RootDir    string
	CertDir    string
	NodeName   string
	NodeIP     string
	Labels     map[string]string
	Containerd string // socket
	LogLinks   string // directory for the links that log collectors follow
	Client     kubernetes.Interface
}

// Run runs the kubelet until ctx is done and calls ready when the node is.
func Run(ctx context.Context, o Options, ready func()) error {
	upstream.ContainerLogsDir = o.LogLinks // a variable upstream, since it has no option
	s, err := server(ctx, o)
	if err != nil {
		return err
	}
	deps, err := app.UnsecuredDependencies(ctx, s, utilfeature.DefaultFeatureGate)
	if err != nil {
		return fmt.Errorf("make dependencies: %w", err)
	}
	deps.OSInterface = links{dir: o.LogLinks}
	// cAdvisor has its own idea of where containerd is, and only this flag.
	if err := flag.Set("containerd", o.Containerd); err != nil {
		return fmt.Errorf("tell cAdvisor where containerd is: %w", err)
	}
	if err := register(ctx, o.Client, o.NodeName); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx, s, deps, utilfeature.DefaultFeatureGate) }()
	became := make(chan struct{})
	go func() {
		if waitReady(ctx, o.Client, o.NodeName) {
			close(became)
		}
	}()
	select {
	case err := <-ended:
		return orUnasked(ctx, err)
	case <-became:
		ready()
	}
	return orUnasked(ctx, <-ended)
}

func orUnasked(ctx context.Context, err error) error {
	if err == nil && ctx.Err() == nil {
		return errors.New("ended")
	}
	return err
}

func server(ctx context.Context, o Options) (*options.KubeletServer, error) {
	loader, err := configfiles.NewFsLoader(&utilfs.DefaultFs{}, o.ConfigFile)
	if err != nil {
		return nil, fmt.Errorf("open the configuration: %w", err)
	}
	c, err := loader.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	if err := kubeletvalidation.ValidateKubeletConfiguration(c, utilfeature.DefaultFeatureGate); err != nil {
		return nil, fmt.Errorf("validate the configuration: %w", err)
	}
	f := options.NewKubeletFlags()
	f.KubeConfig = o.Kubeconfig
	f.RootDirectory = o.RootDir
	f.CertDirectory = o.CertDir
	f.HostnameOverride = o.NodeName
	f.NodeIP = o.NodeIP
	f.NodeLabels = o.Labels
	if err := options.ValidateKubeletFlags(f); err != nil {
		return nil, fmt.Errorf("validate the flags: %w", err)
	}
	return &options.KubeletServer{KubeletFlags: *f, KubeletConfiguration: *c}, nil
}

// waitReady waits for a Ready that this kubelet reported: one from before a
// restart says nothing, so the heartbeat must be younger than the call.
func waitReady(ctx context.Context, client kubernetes.Interface, name string) bool {
	since := time.Now().Add(-time.Second) // times in the API have whole seconds
	sel := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()}
	for ctx.Err() == nil {
		w, err := client.CoreV1().Nodes().Watch(ctx, sel)
		if err == nil {
			for e := range w.ResultChan() {
				if n, ok := e.Object.(*corev1.Node); ok && isReady(n, since) {
					w.Stop()
					return true
				}
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	return false
}

func isReady(n *corev1.Node, since time.Time) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue && !c.LastHeartbeatTime.Time.Before(since.Truncate(time.Second))
		}
	}
	return false
}
