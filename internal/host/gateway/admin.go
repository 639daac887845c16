package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"time"

	"github.com/penstock-dev/penstock/internal/base/buildinfo"
	"github.com/penstock-dev/penstock/internal/host/gateway/proxy"
	"github.com/penstock-dev/penstock/internal/host/gateway/route"
	"github.com/penstock-dev/penstock/internal/host/observe"
)

// admin answers on a unix socket that only the owner can open:
//
//	GET /v1/status  Status
//	GET /readyz     200 when requests are routed by a table, else 503
//	GET /v1/routes  the table, with what was not taken and why
//	GET /livez      200
//	GET /version    which program this is
//	GET /metrics    counts for Prometheus
//	GET /debug/pprof/
//	POST /v1/handover  see handOverPath
type admin struct {
	ln         *net.UnixListener
	proxy      *proxy.Proxy
	state      *state
	successors chan successor
	metrics    http.Handler
}

const adminSocket = "admin.sock"

func newAdmin(ctx context.Context, socket string, p *proxy.Proxy, st *state) (*admin, error) {
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove old admin socket: %w", err)
	}
	ln, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("listen on admin socket: %w", err)
	}
	// The directory is 0700 already; this is for one made by others.
	if err := os.Chmod(socket, 0o600); err != nil {
		ln.Close()
		return nil, fmt.Errorf("protect admin socket: %w", err)
	}
	o, err := observe.New(ctx, observe.Options{Service: "penstock-gateway", Getenv: noTraces})
	if err == nil {
		err = o.Registry().Register(stats{p})
	}
	if err != nil {
		ln.Close()
		return nil, fmt.Errorf("make the gateway's metrics: %w", err)
	}
	return &admin{ln: ln.(*net.UnixListener), proxy: p, state: st, successors: make(chan successor), metrics: o.Metrics()}, nil
}

// handedOver leaves the socket's name to the successor's socket.
func (a *admin) handedOver() { a.ln.SetUnlinkOnClose(false) }

func (a *admin) run(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, a.status()) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		st := a.status()
		if st.Ready {
			answer(w, http.StatusOK, st)
			return
		}
		answer(w, http.StatusServiceUnavailable, map[string]any{"waitingFor": []string{cmp.Or(st.Watch.Reason, "the API server")}})
	})
	mux.HandleFunc("GET /v1/routes", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, a.proxy.Table()) })
	mux.HandleFunc("POST "+handOverPath, func(w http.ResponseWriter, _ *http.Request) { a.handOver(ctx, w) })
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, buildinfo.Get()) })
	mux.Handle("GET /metrics", a.metrics)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(a.ln) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve admin socket: %w", err)
	case <-ctx.Done():
	}
	srv.Close()
	<-failed
	return nil
}

func (a *admin) status() Status {
	t := a.proxy.Table()
	if t == nil {
		t = new(route.Table)
	}
	s := a.state
	s.mu.Lock()
	defer s.mu.Unlock()
	return Status{
		Version:   buildinfo.Get().Version,
		PID:       os.Getpid(),
		StartedAt: s.started.UTC().Truncate(time.Millisecond),
		Listen:    s.addr.String(),
		Ready:     s.source != "none",
		Table:     TableStatus{Source: s.source, At: s.tabled.UTC(), Hosts: len(t.HostNames()), Backends: len(t.Backends), Notices: len(t.Notices)},
		Watch:     WatchStatus{State: s.watch, Since: s.since.UTC(), Reason: s.reason},
		Stats:     a.proxy.Stats(),
	}
}

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // the client has gone; there is nobody to tell
}
