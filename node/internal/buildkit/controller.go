//go:build linux

package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/diff/apply"
	ctdmetadata "github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/diff/walking"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"github.com/containerd/platforms"
	"github.com/moby/buildkit/cache/metadata"
	"github.com/moby/buildkit/cache/remotecache"
	"github.com/moby/buildkit/cache/remotecache/inline"
	localcache "github.com/moby/buildkit/cache/remotecache/local"
	registrycache "github.com/moby/buildkit/cache/remotecache/registry"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/cmd/buildkitd/config"
	"github.com/moby/buildkit/control"
	"github.com/moby/buildkit/executor/oci"
	"github.com/moby/buildkit/executor/resources"
	"github.com/moby/buildkit/executor/runcexecutor"
	"github.com/moby/buildkit/frontend"
	dockerfileversion "github.com/moby/buildkit/frontend/dockerfile/version"
	"github.com/moby/buildkit/frontend/gateway"
	"github.com/moby/buildkit/frontend/gateway/forwarder"
	"github.com/moby/buildkit/session"
	ctdsnapshot "github.com/moby/buildkit/snapshot/containerd"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/solver/bboltcachestorage"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/db/boltutil"
	"github.com/moby/buildkit/util/leaseutil"
	bknetwork "github.com/moby/buildkit/util/network"
	"github.com/moby/buildkit/util/winlayers"
	"github.com/moby/buildkit/version"
	"github.com/moby/buildkit/worker"
	"github.com/moby/buildkit/worker/base"
	wlabel "github.com/moby/buildkit/worker/label"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"
	"go.opentelemetry.io/otel/metric/noop"
	"golang.org/x/sync/semaphore"
)

// historyAge and historyEntries bound what is kept about finished builds.
const (
	historyAge     = 48 * time.Hour
	historyEntries = 100
)

// builder is an assembled BuildKit.
type builder struct {
	*control.Controller
	worker    worker.Worker
	snapshots io.Closer // the controller does not close them
}

// Close closes everything, so that another builder can open it.
func (b *builder) Close() error {
	return errors.Join(b.Controller.Close(), b.snapshots.Close())
}

// newBuilder assembles BuildKit. The builder owns what it is given.
func newBuilder(ctx context.Context, o Options, nw *network, steps *stepCounter) (_ *builder, err error) {
	var undo []io.Closer
	defer func() {
		if err != nil {
			for _, c := range undo {
				_ = c.Close()
			}
		}
	}()
	sm, err := session.NewManager()
	if err != nil {
		return nil, fmt.Errorf("start build sessions: %w", err)
	}
	registries := hosts(o)
	w, sn, closers, err := newWorker(ctx, o, nw, steps, registries)
	undo = append(undo, closers...)
	if err != nil {
		return nil, err
	}
	wc := &worker.Controller{}
	if err := wc.Add(w); err != nil {
		return nil, fmt.Errorf("add build worker: %w", err)
	}
	gw, err := gateway.NewGatewayFrontend(wc.Infos(), nil)
	if err != nil {
		return nil, fmt.Errorf("start gateway frontend: %w", err)
	}
	cacheStore, err := bboltcachestorage.NewStore(filepath.Join(o.Root, "cache.db"))
	if err != nil {
		return nil, fmt.Errorf("open build cache: %w", err)
	}
	undo = append(undo, cacheStore)
	history, err := boltutil.SafeOpen(filepath.Join(o.Root, "history.db"), 0o600, boltOptions())
	if err != nil {
		return nil, fmt.Errorf("open build history: %w", err)
	}
	undo = append(undo, history)
	entries := int64(historyEntries)
	ctl, err := control.NewController(control.Opt{
		SessionManager:   sm,
		WorkerController: wc,
		Frontends: map[string]frontend.Frontend{
			"dockerfile.v0": forwarder.NewGatewayForwarder(wc.Infos(), buildDockerfile),
			"gateway.v0":    gw,
		},
		CacheManager: solver.NewCacheManager(ctx, "local", cacheStore, worker.NewCacheResultStorage(wc)),
		ResolveCacheExporterFuncs: map[string]remotecache.ResolveCacheExporterFunc{
			"inline":   inline.ResolveCacheExporterFunc(),
			"local":    localcache.ResolveCacheExporterFunc(sm),
			"registry": registrycache.ResolveCacheExporterFunc(sm, registries),
		},
		ResolveCacheImporterFuncs: map[string]remotecache.ResolveCacheImporterFunc{
			"local":    localcache.ResolveCacheImporterFunc(sm),
			"registry": registrycache.ResolveCacheImporterFunc(sm, w.ContentStore(), registries),
		},
		// No entitlements: neither the host's network nor privileges.
		MeterProvider:  noop.NewMeterProvider(),
		HistoryDB:      history,
		CacheStore:     cacheStore,
		LeaseManager:   w.LeaseManager(),
		ContentStore:   w.ContentStore(),
		HistoryConfig:  &config.HistoryConfig{MaxAge: config.Duration{Duration: historyAge}, MaxEntries: &entries},
		GarbageCollect: w.GarbageCollect,
		GracefulStop:   ctx.Done(),
	})
	if err != nil {
		return nil, fmt.Errorf("start build controller: %w", err)
	}
	return &builder{ctl, w, sn}, nil
}

// newWorker assembles the one worker. It returns what must be closed when the
// worker is not going to be used, also with an error.
func newWorker(ctx context.Context, o Options, nw *network, steps *stepCounter, registries docker.RegistryHosts) (_ *base.Worker, sn snapshots.Snapshotter, closers []io.Closer, err error) {
	snName, newSnapshotter := snapshotter(o)
	root := filepath.Join(o.Root, "runc-"+snName)
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, nil, nil, fmt.Errorf("make worker root: %w", err)
	}
	providers := map[pb.NetMode]bknetwork.Provider{
		pb.NetMode_UNSET: nw,
		pb.NetMode_NONE:  bknetwork.NewNoneProvider(),
	}
	monitor, err := resources.NewMonitor()
	if err != nil {
		return nil, nil, nil, fmt.Errorf("start resource monitor: %w", err)
	}
	closers = append(closers, monitor)
	oomScore := stepOOMScore
	exe, err := runcexecutor.New(runcexecutor.Opt{
		Root:                executorRoot(o, snName),
		CommandCandidates:   []string{o.Runc},
		DefaultCgroupParent: cgroupParent(o),
		ProcessMode:         oci.ProcessSandbox,
		DNS:                 dns(o),
		OOMScoreAdj:         &oomScore,
		ResourceMonitor:     monitor,
	}, providers)
	if err != nil {
		return nil, nil, closers, fmt.Errorf("find runc: %w", err)
	}
	sn, err = newSnapshotter(filepath.Join(root, "snapshots"))
	if err != nil {
		return nil, nil, closers, fmt.Errorf("open snapshots: %w", err)
	}
	closers = append(closers, sn)
	if err := dropUnrecorded(ctx, sn, filepath.Join(root, "snapshots", "snapshots")); err != nil {
		return nil, nil, closers, err
	}
	blobs, err := local.NewStore(filepath.Join(root, "content"))
	if err != nil {
		return nil, nil, closers, fmt.Errorf("open build content: %w", err)
	}
	db, err := boltutil.Open(filepath.Join(root, "containerdmeta.db"), 0o600, boltOptions())
	if err != nil {
		return nil, nil, closers, fmt.Errorf("open content metadata: %w", err)
	}
	closers = append(closers, db)
	mdb := ctdmetadata.NewDB(db, blobs, map[string]snapshots.Snapshotter{snName: sn})
	if err := mdb.Init(ctx); err != nil {
		return nil, nil, closers, fmt.Errorf("read content metadata: %w", err)
	}
	id, err := base.ID(root)
	if err != nil {
		return nil, nil, closers, fmt.Errorf("name worker: %w", err)
	}
	md, err := metadata.NewStore(filepath.Join(root, "metadata_v2.db"))
	if err != nil {
		return nil, nil, closers, fmt.Errorf("open cache metadata: %w", err)
	}
	closers = append(closers, md)
	content := ctdsnapshot.NewContentStore(mdb.ContentStore(), "buildkit")
	var sem *semaphore.Weighted
	if o.Parallel > 0 {
		sem = semaphore.NewWeighted(int64(o.Parallel))
	}
	w, err := base.NewWorker(ctx, base.WorkerOpt{
		ID:   id,
		Root: root,
		Labels: map[string]string{
			wlabel.Executor:       "oci",
			wlabel.Snapshotter:    snName,
			wlabel.Network:        "bridge",
			wlabel.OCIProcessMode: oci.ProcessSandbox.String(),
		},
		Platforms:        []ocispecs.Platform{platforms.Normalize(platforms.DefaultSpec())},
		GCPolicy:         gcPolicy(o.CacheLimit, fileSystemSize(o.Root)),
		BuildkitVersion:  client.BuildkitVersion{Package: version.Package, Version: version.Version, Revision: version.Revision, DockerfileVersion: dockerfileversion.Version()},
		NetworkProviders: providers,
		Executor:         countSteps{exe, steps},
		Snapshotter:      ctdsnapshot.NewSnapshotter(snName, mdb.Snapshotter(snName), "buildkit", nil),
		ContentStore:     content,
		Applier:          winlayers.NewFileSystemApplierWithWindows(content, apply.NewFileSystemApplier(content)),
		Differ:           winlayers.NewWalkingDiffWithWindows(content, walking.NewWalkingDiff(content)),
		RegistryHosts:    registries,
		LeaseManager:     leaseutil.WithNamespace(ctdmetadata.NewLeaseManager(mdb), "buildkit"),
		GarbageCollect:   mdb.GarbageCollect,
		ParallelismSem:   sem,
		MetadataStore:    md,
		ContentMetadata:  db,
		MountPoolRoot:    filepath.Join(root, "cachemounts"),
		ResourceMonitor:  monitor,
	})
	if err != nil {
		return nil, nil, closers, fmt.Errorf("start build worker: %w", err)
	}
	return w, sn, closers, nil
}

// snapshotter chooses overlayfs where the file system carries it.
func snapshotter(o Options) (name string, open func(root string) (snapshots.Snapshotter, error)) {
	if err := overlayutils.Supported(o.Root); err != nil {
		o.Log.Warn("build snapshots are full copies, which is slow: this file system carries no overlay", "root", o.Root, "error", err)
		return "native", native.NewSnapshotter
	}
	return "overlayfs", func(root string) (snapshots.Snapshotter, error) {
		return overlay.NewSnapshotter(root, overlay.AsynchronousRemove)
	}
}

func executorRoot(o Options, snapshotter string) string {
	return filepath.Join(o.Root, "runc-"+snapshotter, "executor")
}

func dns(o Options) *oci.DNSConfig {
	if len(o.Nameservers) == 0 {
		return nil
	}
	d := &oci.DNSConfig{}
	for _, a := range o.Nameservers {
		d.Nameservers = append(d.Nameservers, a.String())
	}
	return d
}

func boltOptions() *bolt.Options {
	return &bolt.Options{FreelistType: bolt.FreelistMapType, NoFreelistSync: true}
}
