// Package scheduler runs the unmodified kube-scheduler in this process.
package scheduler

import (
	"context"
	"fmt"

	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/cmd/kube-scheduler/app"
	"k8s.io/kubernetes/cmd/kube-scheduler/app/options"

	"github.com/penstock-dev/penstock/node/internal/kubeflags"
)

// Run runs the scheduler until ctx is done.
func Run(ctx context.Context, kubeconfig string) error {
	s := options.NewOptions()
	if err := kubeflags.Parse("kube-scheduler", kubeflags.Named(*s.Flags), flags(kubeconfig)); err != nil {
		return err
	}
	name, err := cache.NewInformerName("kube-scheduler")
	if err != nil {
		return fmt.Errorf("name informers: %w", err)
	}
	s.InformerName = name
	c, sched, err := app.Setup(ctx, s)
	if err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	err = app.Run(ctx, c, sched)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // it reports a stop that it was told to make
	}
	return err
}

func flags(kubeconfig string) map[string]string {
	return map[string]string{
		"kubeconfig":     kubeconfig,
		"leader-elect":   "false", // there is one
		"secure-port":    "0",
		"profiling":      "false",
		"kube-api-qps":   "1000", // see package controllers
		"kube-api-burst": "2000",
	}
}
