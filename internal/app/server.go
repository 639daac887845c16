package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/net/netutil"

	"github.com/penstock-dev/penstock/internal/base/bus"
	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/face/api"
	"github.com/penstock-dev/penstock/internal/face/cli"
	"github.com/penstock-dev/penstock/internal/face/web"
	"github.com/penstock-dev/penstock/internal/host/access"
	"github.com/penstock-dev/penstock/internal/host/audit"
	"github.com/penstock-dev/penstock/internal/host/blob"
	"github.com/penstock-dev/penstock/internal/host/git"
	"github.com/penstock-dev/penstock/internal/host/identity"
	"github.com/penstock-dev/penstock/internal/host/machine"
	"github.com/penstock-dev/penstock/internal/host/observe"
	"github.com/penstock-dev/penstock/internal/host/oidc"
	"github.com/penstock-dev/penstock/internal/host/podnet"
	"github.com/penstock-dev/penstock/internal/host/replay"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// newServer is the server process: everything but the node and the gateway.
func newServer(g *cli.Globals) *cobra.Command {
	var o serverOptions
	c := &cobra.Command{
		Use:    "server",
		Short:  "Run the server (penstock up does)",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			m, err := machine.At(g.DataDir)
			if err != nil {
				return err
			}
			o.machine = m
			level := &slog.LevelVar{}
			level.Set(slog.LevelInfo - slog.Level(4*g.Verbose))
			o.level = level
			log := slog.New(slog.NewJSONHandler(g.Err, &slog.HandlerOptions{Level: level}))
			return serve(c.Context(), o, log)
		},
	}
	c.Flags().StringVar(&o.listen, "listen", machine.DefaultListen, "`address` to listen on")
	c.Flags().StringVar(&o.podListen, "pod-listen", "", "further `address` to listen on, where Pods of the embedded cluster find the server; it need not exist yet")
	c.Flags().StringVar(&o.runtime, "runtime", defaultRuntime(), runtimes)
	c.Flags().StringArrayVar(&o.mirrors, "mirror", nil, "`HOST[=URL]` of a registry whose images are fetched when they are asked for, instead of the usual ones; none for none; repeatable")
	c.Flags().StringVar(&o.blobs, "blobs", os.Getenv("PENSTOCK_BLOBS"), "where logs are kept: a directory or s3://bucket/prefix?endpoint=... `URL` ($PENSTOCK_BLOBS); default blobs in the data directory")
	c.Flags().StringVar(&o.keyFile, "key-file", "", "`file` with the master keys of the secrets in the store ($"+keyFileEnv+"); default master.key in the data directory")
	o.git.add(c.Flags())
	c.Flags().StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig `file` of the cluster; may appear later")
	c.Flags().StringVar(&o.database, "database", "", "`URL` of a PostgreSQL database, without a password, instead of SQLite in the data directory ($"+databaseEnv+")")
	c.Flags().StringVar(&o.databaseFile, "database-file", "", "`file` with that URL, which may have a password ($"+databaseFileEnv+")")
	return c
}

type serverOptions struct {
	database, databaseFile string

	machine    *machine.Machine
	listen     string
	podListen  string
	kubeconfig string
	runtime    string
	mirrors    []string
	level      *slog.LevelVar // of the log, changed through the admin socket
	blobs      string
	keyFile    string
	git        gitLimits
}

// kubeconfigFile says where the cluster is: where the flag says, or the
// embedded one.
func (o serverOptions) kubeconfigFile() string {
	if o.kubeconfig != "" {
		return o.kubeconfig
	}
	return o.machine.Kubeconfig()
}

// serve runs the server until ctx is done.
//
// The order: port and data directory first, so that a second server fails
// before it touches anything; then the store, which everybody writes to; then
// the rooms.
func serve(ctx context.Context, o serverOptions, log *slog.Logger) (err error) {
	l, err := listen(ctx, o.listen)
	if err != nil {
		return err
	}
	defer l.Close()
	listeners := []net.Listener{l}
	if o.podListen != "" && !podnet.Covers(o.listen, o.podListen) {
		p, err := podnet.Listen(ctx, o.podListen)
		if err != nil {
			return err
		}
		defer p.Close()
		listeners = append(listeners, p)
	}
	dir := o.machine.DataDir()
	release, err := lockServer(dir)
	if err != nil {
		return err
	}
	defer release()
	seen, err := observe.New(ctx, observe.Options{Service: "penstock-server", Log: log.With("room", "observe")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeObserver(ctx, seen)) }()
	admin, err := newAdminSocket(ctx, o.machine.ServerSocket(), seen, o.level, log)
	if err != nil {
		return err
	}
	where, err := findDatabase(dir, o.database, o.databaseFile)
	if err != nil {
		return err
	}
	db, err := store.Open(ctx, where)
	if err != nil {
		return err
	}
	defer db.Close()
	if store.IsPostgres(where) {
		if err := db.Bind(ctx, filepath.Join(dir, "store.id")); err != nil {
			return err
		}
	}
	blobs, err := blob.Open(o.blobs, filepath.Join(dir, "blobs"))
	if err != nil {
		return err
	}
	defer blobs.Close()
	vault, err := openVault(ctx, db, dir, o.keyFile)
	if err != nil {
		return err
	}
	trail, err := audit.New(ctx, db, nil)
	if err != nil {
		return err
	}
	replays, err := replay.New(ctx, db, nil)
	if err != nil {
		return err
	}
	reviewer := access.New(access.Options{Kubeconfig: o.kubeconfigFile(), Log: log.With("room", "access")})
	keeper, err := identity.New(ctx, identity.Options{DB: db, TokenFile: filepath.Join(dir, "admin.token"), Reviewer: reviewer, Log: log.With("room", "identity")})
	if err != nil {
		return err
	}
	url := o.machine.ServerURL(machine.Settings{Listen: o.listen})
	var pushes bus.Topic[event.Push]
	var finished bus.Topic[event.RunFinished]
	own := newOwnWork(seen, topics{&pushes, &finished}, log.With("room", "observe"))
	maxPush, maxFile, maxRepository, err := o.git.bytes()
	if err != nil {
		return err
	}
	rules := &repoRules{keeper: keeper, reviewer: reviewer}
	repos, err := git.New(ctx, git.Options{
		Root: filepath.Join(dir, "git"), DB: db, Blobs: blobs, Access: keeper, Pushes: &pushes,
		URLs: gitURLs(url), Secrets: gitSecrets{vault}, Roles: rules, Statuses: rules,
		MaxPush: maxPush, MaxFile: maxFile, MaxRepository: maxRepository, Log: log.With("room", "git"),
	})
	if err != nil {
		return err
	}
	mirrors, err := parseMirrors(o.mirrors)
	if err != nil {
		return err
	}
	images, err := newImages(o.machine, o.listen, keeper, mirrors, log.With("room", "registry"))
	if err != nil {
		return err
	}
	feed := api.NewFeed()
	ci, runners, err := newCI(ctx, ciOptions{
		machine: o.machine, listen: o.listen, url: url, runtime: o.runtime,
		db: db, blobs: blobs, git: repos, keeper: keeper, pushes: &pushes, finished: &finished, tracing: seen.Tracing(), log: log.With("room", "ci"),
		changed: func(run int64) { feed.Changed(api.KindRun, strconv.FormatInt(run, 10)) },
	})
	if err != nil {
		return err
	}
	if err := own.watch(seen, ci); err != nil {
		return err
	}
	a := api.New()
	rules.ci.Store(ci)
	a.Repos(repoFace{repos})
	a.Mirrors(repoFace{repos})
	a.Protection(repos)
	a.Aliases(repos)
	a.CIRuns(ci)
	a.Identity(identityFace{keeper, reviewer, url})
	a.Grants(reviewer)
	a.Images(imageFace{images.outside})
	a.Audit(trail)
	a.Idempotency(replays)
	events := eventFace{db, url}
	appsOf := appFace{reviewer}
	a.Events(events)
	a.Applications(appsOf)
	a.Stream(streamSource{feed, api.Sources{Runs: ci, Applications: appsOf, Events: events}})
	apps, unsubscribe, err := newApplications(o, db, repos, &pushes, seen, own, log)
	if err != nil {
		return err
	}
	defer unsubscribe()
	issuer, err := oidc.New(ctx, oidc.Options{URL: url, Keys: issuerKeys{vault.Vault}, Log: log.With("room", "issuer")})
	if err != nil {
		return err
	}
	rooms := []room{
		{name: "access", run: reviewer.Run, ready: reviewer.Ready},
		{name: "issuer", run: issuer.Run},
		{name: "event feed", run: func(ctx context.Context) error { return watchEvents(ctx, events, feed) }},
		{name: "application feed", run: func(ctx context.Context) error { return watchApplications(ctx, o, feed, log) }},
		{name: "git", run: repos.Run},
		{name: "registry", run: images.Run},
		{name: "images of the node", run: images.node.Run, ready: images.node.Ready},
		{name: "ci", run: ci.Run},
		{name: "blobs", run: func(ctx context.Context) error { return sweepBlobs(ctx, blobs, log.With("room", "blobs")) }},
		{name: "runners", run: runners.Run},
		{name: "gitops", run: apps.Run, ready: apps.Ready},
	}
	rooms = append(rooms, own.rooms(seen, db)...)
	pages, err := web.New(a.Handler(keeper))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/git/", repos)
	mux.Handle("/v2/", images)
	mux.Handle("/readyz", readyz(rooms))
	if !pages.Built() { // they have one of their own
		mux.Handle("/login", api.LoginPage())
	}
	mux.Handle("/.well-known/", issuer)
	mux.Handle("/metrics", seen.Metrics())
	mux.Handle("/", pages)
	if o.podListen != "" {
		names := clusterNames{o.kubeconfigFile(), o.podListen, podnet.Beside(gatewayListen(o)), log.With("room", "names")}
		rooms = append(rooms, room{name: "names", run: names.Run})
	}
	rooms = append(rooms, room{name: "admin", run: admin.run}, room{name: "http", stop: drain + time.Second, run: func(ctx context.Context) error {
		return serveHTTP(ctx, listeners, api.Front(seen.HTTP(routeOf, mux), log.With("room", "http")), log)
	}})
	log.Info("serving", "address", l.Addr().String(), "pages", pages.Built(), "traces", seen.Tracing())
	return runRooms(ctx, rooms, log)
}

// closeObserver sends the traces that are left, for a moment.
func closeObserver(ctx context.Context, o *observe.Observer) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := o.Close(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("send what is left of the traces: %w", err)
	}
	return nil
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, &problem.Error{Op: "listen on", Subject: addr, Err: err, Hint: "penstock doctor"}
	}
	return l, nil
}

// Requests in flight have until drain when the server ends. Halfway their
// contexts end, which closes streams that never end by themselves.
const drain = 10 * time.Second

// maxConnections bounds the connections of all clients, so that descriptors
// are left for the store and for git. Others wait.
const maxConnections = 4096

// serveHTTP serves h on the listeners until ctx is done and then lets requests finish.
func serveHTTP(ctx context.Context, listeners []net.Listener, h http.Handler, log *slog.Logger) error {
	requests, hurry := context.WithCancel(context.WithoutCancel(ctx))
	defer hurry()
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return requests },
	}
	ended := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { ended <- srv.Serve(netutil.LimitListener(l, maxConnections)) }()
	}
	select {
	case err := <-ended:
		err = fmt.Errorf("serve: %w", err)
		err = errors.Join(err, srv.Close())
		for range len(listeners) - 1 {
			<-ended
		}
		return err
	case <-ctx.Done():
	}
	sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	defer time.AfterFunc(drain/2, hurry).Stop()
	err := srv.Shutdown(sctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = srv.Close()
	}
	for range listeners {
		<-ended
	}
	return err
}
