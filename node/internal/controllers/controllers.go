// Package controllers runs the unmodified kube-controller-manager in this
// process.
package controllers

import (
	"context"
	"fmt"

	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app/options"

	"github.com/penstock-dev/penstock/node/internal/kubeflags"
	"github.com/penstock-dev/penstock/node/internal/pki"
)

// Options say how the controller manager runs.
type Options struct {
	Kubeconfig      string
	PKI             *pki.Store
	ServiceCIDR     string
	VolumePluginDir string
}

// Run runs the controllers until ctx is done.
func Run(ctx context.Context, o Options) error {
	s, err := options.NewKubeControllerManagerOptions()
	if err != nil {
		return fmt.Errorf("make options: %w", err)
	}
	fss := s.Flags(app.KnownControllers(), app.ControllersDisabledByDefault(), app.ControllerAliases())
	if err := kubeflags.Parse("kube-controller-manager", kubeflags.Named(fss), flags(o)); err != nil {
		return err
	}
	c, err := s.Config(ctx, app.KnownControllers(), app.ControllersDisabledByDefault(), app.ControllerAliases())
	if err != nil {
		return fmt.Errorf("complete options: %w", err)
	}
	return app.Run(ctx, c.Complete())
}

func flags(o Options) map[string]string {
	return map[string]string{
		"kubeconfig":                       o.Kubeconfig,
		"leader-elect":                     "false", // there is one
		"secure-port":                      "0",     // it is reached through the apiserver's process
		"profiling":                        "false",
		"controllers":                      "*",
		"allocate-node-cidrs":              "false", // the one node has the whole range
		"use-service-account-credentials":  "false",
		"root-ca-file":                     o.PKI.Cert(pki.CA),
		"service-account-private-key-file": o.PKI.Key(pki.ServiceAccount),
		"cluster-signing-cert-file":        o.PKI.Cert(pki.CA),
		"cluster-signing-key-file":         o.PKI.Key(pki.CA),
		"service-cluster-ip-range":         o.ServiceCIDR,
		"flex-volume-plugin-dir":           o.VolumePluginDir,
		// The apiserver is in the same process and protects itself by priority
		// and fairness; throttling its own controllers only delays them.
		"kube-api-qps":   "1000",
		"kube-api-burst": "2000",
	}
}
