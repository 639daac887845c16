package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/penstock-dev/penstock/internal/host/gateway/route"
)

// kubeconfigPoll is how often the kubeconfig is looked for and compared: it
// appears with the cluster and changes with its certificates.
const kubeconfigPoll = time.Second

// savePause is the least time between two writes of the table to the disk. A
// gateway that is killed loses no more than the changes within it.
const savePause = 200 * time.Millisecond

// watcher keeps the table up to date.
type watcher struct {
	kubeconfig string
	domain     string
	file       string
	log        *slog.Logger
	state      *state
	use        func(*route.Table)
	status     networkingv1.IngressLoadBalancerStatus

	current *route.Table              // what the proxy uses, once live
	noticed map[route.Notice]struct{} // already logged
}

// run watches until ctx ends. Each kubeconfig gets a session of its own; the
// table of the last one is used until the next one has a complete picture.
func (w *watcher) run(ctx context.Context) {
	w.noticed = map[route.Notice]struct{}{}
	for ctx.Err() == nil {
		id, err := fileID(w.kubeconfig)
		if err != nil {
			reason := err.Error()
			if errors.Is(err, fs.ErrNotExist) {
				reason = "the kubeconfig " + w.kubeconfig + ", which is not there yet"
			}
			if w.state.watching("waiting", reason) {
				w.log.Info("waiting for a kubeconfig", "file", w.kubeconfig)
			}
			sleep(ctx, kubeconfigPoll)
			continue
		}
		if err := w.session(ctx, id); err != nil && ctx.Err() == nil {
			if w.state.watching("lost", err.Error()) {
				w.log.Warn("cannot watch the cluster", "err", err)
			}
			sleep(ctx, kubeconfigPoll)
		}
	}
}

// session watches with the kubeconfig as it is now, until it changes.
func (w *watcher) session(parent context.Context, id string) error {
	c, err := newClients(w.kubeconfig)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(parent)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()

	wake := make(chan struct{}, 1)
	changed := func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	services := newObjects[*corev1.Service](changed)
	slices := newObjects[*discoveryv1.EndpointSlice](changed)
	ingresses := newObjects[*networkingv1.Ingress](changed)
	w.state.watching("syncing", "")
	namespaces := newObjects[*corev1.Namespace](changed)
	api := newGatewayAPI(c.dynamic, w.log, changed)
	quiet := quietly(ctx, w.log)
	for _, r := range []struct {
		name  string
		lw    *cache.ListWatch
		kind  any
		store cache.ReflectorStore
	}{
		{"services", c.services, &corev1.Service{}, services},
		{"endpointslices", c.slices, &discoveryv1.EndpointSlice{}, slices},
		{"ingresses", c.ingresses, &networkingv1.Ingress{}, ingresses},
		{"namespaces", c.namespaces, &corev1.Namespace{}, namespaces},
	} {
		reflector := newReflector(r.name, &observed{ListWatch: r.lw, seen: w.seen}, r.kind, r.store, w.log)
		wg.Go(func() { reflector.RunWithContext(quiet) })
	}
	status := newStatusWriter(c, w.status, w.log)
	wg.Go(func() { status.run(ctx) })
	plans := newPlanWriter(api, w.domain, w.log)
	wg.Go(func() { plans.run(ctx) })
	wg.Go(func() { api.run(ctx) })
	wg.Go(func() {
		for sleep(ctx, kubeconfigPoll) {
			if now, err := fileID(w.kubeconfig); err == nil && now != id {
				w.log.Info("the kubeconfig changed")
				cancel()
			}
		}
	})
	for _, synced := range []chan struct{}{services.synced, slices.synced, ingresses.synced, namespaces.synced} {
		select {
		case <-synced:
		case <-ctx.Done():
			return nil
		}
	}
	api.settled(ctx)
	w.state.watching("live", "")
	complete := false // what follow has read last
	w.follow(ctx, wake, func() route.Objects {
		o := route.Objects{Services: services.list(), Slices: slices.list(), Ingresses: ingresses.list()}
		status.offer(o.Ingresses)
		o.Gateway, complete = api.read()
		o.Gateway.Namespaces = map[string]map[string]string{}
		for _, n := range namespaces.list() {
			o.Gateway.Namespaces[n.Name] = n.Labels
		}
		return o
	}, func(s route.Status) {
		if complete {
			plans.offer(s)
		}
	})
	return nil
}

// follow builds a table after each change. Under a storm of changes it leaves
// the processor to the requests nine tenths of the time.
func (w *watcher) follow(ctx context.Context, wake <-chan struct{}, read func() route.Objects, plan func(route.Status)) {
	var save <-chan time.Time
	notBefore := time.Now()
	for {
		select {
		case <-wake:
			start := time.Now()
			if w.rebuild(read(), plan) && save == nil {
				save = time.After(time.Until(notBefore)) // at once, mostly
			}
			sleep(ctx, max(5*time.Millisecond, 10*time.Since(start)))
		case <-save:
			start := time.Now()
			save = nil
			w.save()
			notBefore = time.Now().Add(max(savePause, 20*time.Since(start)))
		case <-ctx.Done():
			if save != nil {
				w.save()
			}
			return
		}
	}
}

// rebuild makes the table current and returns whether it differs.
func (w *watcher) rebuild(o route.Objects, plan func(route.Status)) bool {
	t, status := route.BuildWithStatus(w.domain, o)
	plan(status)
	w.state.table("live", time.Now())
	if w.current != nil && w.current.Equal(t) {
		return false
	}
	w.current = t
	w.use(t)
	for _, n := range t.Notices {
		if _, known := w.noticed[n]; !known && len(w.noticed) < 10000 {
			w.noticed[n] = struct{}{}
			w.log.Warn("not routed as written", "object", n.Object, "reason", n.Message)
		}
	}
	return true
}

func (w *watcher) save() {
	if err := saveTable(w.file, w.current); err != nil {
		// Serving goes on; a restart would begin with older routes.
		w.log.Error("routes were not saved", "file", w.file, "err", err)
	}
}

// seen records the outcome of a request to the API server.
func (w *watcher) seen(err error) {
	if err != nil {
		if w.state.watching("lost", err.Error()) {
			w.log.Warn("lost the API server; serving the last known routes", "err", err)
		}
		return
	}
	if w.state.recovered() {
		w.log.Info("the API server is back")
	}
}

// fileID changes whenever the file is written or replaced.
func fileID(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	return fmt.Sprint(info.ModTime().UnixNano(), info.Size()), nil
}

// sleep returns false when ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
