package app

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/host/cluster"
)

const (
	// renameEvery is how often the Services are made anew, should somebody
	// have changed or removed them.
	renameEvery = 5 * time.Minute
	renameRetry = 2 * time.Second
)

// clusterNames keeps the Services in place under which Pods find Penstock.
type clusterNames struct {
	kubeconfig      string
	server, gateway string // as Pods reach them
	log             *slog.Logger
}

// Run applies them until ctx is done. Nobody waits for it: a cluster that is
// not there yet gets them when it is.
func (n clusterNames) Run(ctx context.Context) error {
	for {
		wait := renameEvery
		if err := n.apply(ctx); err != nil && ctx.Err() == nil {
			n.log.Debug("services of penstock are not in the cluster yet", "error", err)
			wait = renameRetry
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

func (n clusterNames) apply(ctx context.Context) error {
	config, err := cluster.Config(n.kubeconfig)
	if err != nil {
		return err
	}
	c, err := cluster.New(config)
	if err != nil {
		return err
	}
	objects, err := cluster.Names(n.server, n.gateway)
	if err != nil {
		return err
	}
	for _, o := range objects {
		if _, err := c.Apply(ctx, o, cluster.ApplyOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// gitURLs are the addresses under which the hosted repositories are known: to
// people and jobs, and to programs in the cluster.
func gitURLs(server string) []string {
	urls := []string{server + "/git/"}
	_, port, _ := strings.Cut(strings.TrimPrefix(server, "http://"), ":")
	for _, name := range []string{"git", "penstock"} {
		host := "http://" + name + "." + cluster.NamesNamespace + ".svc"
		urls = append(urls, host+"/git/", host+":"+port+"/git/", host+"."+cluster.Domain+"/git/", host+"."+cluster.Domain+":"+port+"/git/")
	}
	return urls
}
