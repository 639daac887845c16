package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/host/observe"
)

// adminSocket answers on a unix socket that only the owner can open:
//
//	GET /debug/pprof/   profiles; /debug/pprof/goroutine?debug=2 is where everything stands
//	GET /metrics        as on the server's address
//	GET, PUT /loglevel  what is logged: debug, info, warn, error
type adminSocket struct {
	ln  net.Listener
	mux *http.ServeMux
}

// newAdminSocket listens. A socket that a dead server left is replaced; the
// lock on the data directory says that it is dead.
func newAdminSocket(ctx context.Context, path string, o *observe.Observer, level *slog.LevelVar, log *slog.Logger) (*adminSocket, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove old admin socket: %w", err)
	}
	if err := os.MkdirAll(strings.TrimSuffix(path, "/server.sock"), 0o700); err != nil {
		return nil, fmt.Errorf("create directory of the admin socket: %w", err)
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on admin socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		return nil, fmt.Errorf("protect admin socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.Handle("GET /metrics", o.Metrics())
	mux.HandleFunc("GET /loglevel", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, strings.ToLower(level.Level().String()))
	})
	mux.HandleFunc("PUT /loglevel", func(w http.ResponseWriter, r *http.Request) {
		b := make([]byte, 16)
		n, _ := r.Body.Read(b)
		if err := level.UnmarshalText([]byte(strings.TrimSpace(string(b[:n])))); err != nil {
			http.Error(w, "the level is debug, info, warn or error", http.StatusBadRequest)
			return
		}
		log.Info("log level changed", "level", level.Level().String())
		fmt.Fprintln(w, strings.ToLower(level.Level().String()))
	})
	return &adminSocket{ln, mux}, nil
}

// run answers until ctx ends.
func (a *adminSocket) run(ctx context.Context) error {
	srv := &http.Server{Handler: a.mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(a.ln) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve admin socket: %w", err)
	case <-ctx.Done():
	}
	_ = srv.Close()
	<-failed
	return nil
}
