// Package control is the node's control socket: HTTP and JSON over a unix
// socket that only its owner may open. It says what state the node is in, takes
// images and starts the stop.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"time"

	"github.com/penstock-dev/penstock/node/internal/fault"
	"github.com/penstock-dev/penstock/node/internal/images"
	"github.com/penstock-dev/penstock/node/internal/registry"
	"github.com/penstock-dev/penstock/node/internal/supervise"
)

// maxArchive bounds what one import may send.
const maxArchive = 32 << 30

// Status is the answer of GET /v1/status.
type Status struct {
	Version           string             `json:"version"`
	KubernetesVersion string             `json:"kubernetesVersion"`
	PID               int                `json:"pid"`
	StartedAt         time.Time          `json:"startedAt"`
	Ready             bool               `json:"ready"`
	ReadyMillis       int64              `json:"readyMillis,omitempty"` // from the start of the process to ready
	Components        []supervise.Status `json:"components"`
	Node              *Node              `json:"node,omitempty"` // absent with --api-only
	Paths             Paths              `json:"paths"`
}

// Node is the machine's place in the cluster.
type Node struct {
	Name        string `json:"name"`
	IP          string `json:"ip"`
	PodCIDR     string `json:"podCIDR"`
	ServiceCIDR string `json:"serviceCIDR"`
	ClusterDNS  string `json:"clusterDNS"`
}

// Paths are where other programs find what they need.
type Paths struct {
	Kubeconfig string `json:"kubeconfig"`
	BuildKit   string `json:"buildkit,omitempty"`
	Containerd string `json:"containerd,omitempty"`
}

// state is what the server asks for the components' states.
type state interface {
	Status() ([]supervise.Status, <-chan struct{})
}

// Server answers on the control socket.
type Server struct {
	Socket   string
	Base     Status // all that does not change
	State    state
	Images   *images.Store    // nil with --api-only
	Registry *registry.Config // nil with --api-only
	Stop     func()           // begins the graceful stop
	Log      *slog.Logger
}

// Run serves until ctx is done.
func (s *Server) Run(ctx context.Context, ready func()) error {
	// The lock of the data directory says that nobody listens on it now.
	if err := os.Remove(s.Socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the old socket: %w", err)
	}
	l, err := listen(s.Socket)
	if err != nil {
		return err
	}
	srv := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelWarn),
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	ready()
	select {
	case err := <-ended:
		return fmt.Errorf("serve the control socket: %w", err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if srv.Shutdown(last) != nil {
		_ = srv.Close()
	}
	<-ended
	return nil
}

// listen makes the socket without a moment in which others could open it.
func listen(path string) (net.Listener, error) {
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on the control socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	if err = os.Chmod(tmp, 0o600); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("listen on the control socket: %w", err)
	}
	return l, nil
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", s.status)
	mux.HandleFunc("GET /v1/ready", s.ready)
	mux.HandleFunc("GET /v1/images", s.withImages(s.listImages))
	mux.HandleFunc("POST /v1/images", s.withImages(s.importImage))
	mux.HandleFunc("DELETE /v1/images", s.withImages(s.removeImage))
	mux.HandleFunc("PUT /v1/registry", s.withImages(s.setRegistry))
	mux.HandleFunc("POST /v1/stop", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusAccepted, map[string]string{"state": "stopping"})
		s.Stop()
	})
	// What the whole process spends its time and memory on. All of Kubernetes
	// is in it, and the socket is its owner's alone.
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// Snapshot puts the components' states into the fixed part.
func Snapshot(base Status, components []supervise.Status) Status {
	base.Components = components
	base.Ready = len(supervise.Pending(components)) == 0
	if base.Ready {
		for _, c := range components {
			base.ReadyMillis = max(base.ReadyMillis, c.ReadyMillis)
		}
	}
	return base
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	all, _ := s.State.Status()
	answer(w, http.StatusOK, Snapshot(s.Base, all))
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	wait := 0 * time.Second
	if q := r.URL.Query().Get("wait"); q != "" {
		d, err := time.ParseDuration(q)
		if err != nil || d < 0 || d > 10*time.Minute {
			problem(w, http.StatusBadRequest, fmt.Errorf("wait=%q is not a duration up to 10m", q))
			return
		}
		wait = d
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	for {
		all, changed := s.State.Status()
		pending := supervise.Pending(all)
		if len(pending) == 0 {
			answer(w, http.StatusOK, map[string]bool{"ready": true})
			return
		}
		select {
		case <-changed:
			continue
		case <-r.Context().Done():
		case <-t.C:
		}
		answer(w, http.StatusServiceUnavailable, map[string]any{"ready": false, "waitingFor": pending})
		return
	}
}

func (s *Server) withImages(h func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.Images == nil {
			problem(w, http.StatusNotImplemented, errors.New("this is a control plane without a node (--api-only): it has no images"))
			return
		}
		if err := h(w, r); err != nil {
			problem(w, code(err), err)
		}
	}
}

func code(err error) int {
	switch {
	case errors.Is(err, images.ErrInvalid), errors.Is(err, registry.ErrInvalid):
		return http.StatusBadRequest
	case errors.Is(err, images.ErrNotFound):
		return http.StatusNotFound
	}
	return http.StatusInternalServerError
}

func (s *Server) listImages(w http.ResponseWriter, r *http.Request) error {
	list, err := s.Images.List(r.Context())
	if err == nil {
		answer(w, http.StatusOK, list)
	}
	return err
}

func (s *Server) importImage(w http.ResponseWriter, r *http.Request) error {
	body := http.MaxBytesReader(w, r.Body, maxArchive)
	list, err := s.Images.Import(r.Context(), r.URL.Query().Get("name"), body)
	if err == nil {
		answer(w, http.StatusOK, list)
		return nil
	}
	// A client that is still sending when the connection closes sees a broken
	// pipe and never the reason.
	_, _ = io.Copy(io.Discard, body)
	return err
}

func (s *Server) removeImage(w http.ResponseWriter, r *http.Request) error {
	err := s.Images.Remove(r.Context(), r.URL.Query().Get("name"))
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

// maxSettings bounds what one request may say.
const maxSettings = 64 << 10

// setRegistry takes where the image registry is.
func (s *Server) setRegistry(w http.ResponseWriter, r *http.Request) error {
	var in registry.Settings
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxSettings)).Decode(&in); err != nil {
		return fmt.Errorf("%w: the settings of the registry: %w", registry.ErrInvalid, err)
	}
	if err := s.Registry.Set(in); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the client is gone; there is nobody to tell
}

func problem(w http.ResponseWriter, code int, err error) {
	answer(w, code, map[string]string{"error": err.Error(), "hint": fault.Hint(err)})
}
