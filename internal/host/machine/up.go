package machine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/podnet"
	"github.com/penstock-dev/penstock/internal/host/process"
)

// Progress tells of one process on its way to ready.
type Progress struct {
	Name   string
	State  string        // started, adopted, ready, waiting, ended
	Detail string        // what it waits for
	After  time.Duration // since the start of Up
}

// UpOptions configures [Machine.Up].
type UpOptions struct {
	Settings Settings
	Timeout  time.Duration  // until everything must be ready
	Progress func(Progress) // called from one goroutine at a time
	Ready    func()         // called once, when everything is ready
	Log      *slog.Logger
}

// maxFailures is how often a process may end before it was ever ready.
const maxFailures = 3

// Up starts whatever does not run yet, supervises all processes until ctx is
// done and then lets the node and the gateway run on. It fails when they do
// not become ready; what was started stays, for the next Up to adopt.
func (m *Machine) Up(ctx context.Context, o UpOptions) error {
	if err := m.prepare(o.Settings); err != nil {
		return err
	}
	release, err := process.Lock(m.RunDir())
	if err != nil {
		return &problem.Error{Op: "start penstock", Err: err, Hint: "penstock status"}
	}
	defer release()
	specs, err := m.specs(o.Settings)
	if err != nil {
		return err
	}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &run{machine: m, options: o, began: time.Now(), cancel: cancel}
	var wg sync.WaitGroup
	for _, spec := range specs {
		wg.Go(func() { r.supervise(ctx, spec) })
	}
	wg.Go(func() { r.awaitReady(ctx, specs) })
	wg.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	// The server holds nothing that must outlive us; it drains and ends.
	if p, ok := process.Find(m.RunDir(), Server); ok {
		return p.Stop(context.WithoutCancel(ctx), stopGrace)
	}
	return nil
}

// specs says how to start each process. The node comes first because the
// others wait for it.
func (m *Machine) specs(s Settings) ([]process.Spec, error) {
	node, err := nodeProgram()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own program: %w", err)
	}
	forServer := cleanEnv(os.Environ())
	env := withoutDatabase(forServer)
	return []process.Spec{
		{Name: Node, Env: env, Args: []string{node, "run", "--data-dir", m.NodeDir()}},
		{Name: Gateway, Env: env, TakesOver: true, Args: []string{self, "gateway", "--take-over", "--data-dir", m.dataDir, "--listen", s.GatewayListen, "--pod-listen", podnet.Beside(s.GatewayListen), "--kubeconfig", m.Kubeconfig()}},
		{Name: Server, Env: forServer, Args: []string{self, "server", "--data-dir", m.dataDir, "--listen", s.Listen, "--pod-listen", podnet.Beside(s.Listen), "--kubeconfig", m.Kubeconfig()}},
	}, nil
}

// cleanEnv keeps what the processes need of the caller's environment and no
// secrets that happen to be in it. Where traces go (OTEL_*) may hold a key to
// that place; the server keeps it from its jobs.
func cleanEnv(env []string) []string {
	out := []string{"PATH=" + searchPath(os.Getenv("PATH"))}
	for _, kv := range env {
		k, _, _ := strings.Cut(kv, "=")
		switch k {
		case "HOME", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR",
			"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
			"GOMEMLIMIT", "GOGC", "GOTRACEBACK":
			out = append(out, kv)
		default:
			if strings.HasPrefix(k, "PENSTOCK_") && k != "PENSTOCK_TOKEN" || strings.HasPrefix(k, "OTEL_") {
				out = append(out, kv)
			}
		}
	}
	return out
}

// withoutDatabase drops the URL of the server's database, which can have a
// password.
func withoutDatabase(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool { return strings.HasPrefix(kv, "PENSTOCK_DATABASE=") })
}

// searchPath makes sure that system programs are found.
func searchPath(path string) string {
	have := map[string]bool{}
	for _, d := range strings.Split(path, ":") {
		have[d] = true
	}
	for _, d := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		if !have[d] {
			path += ":" + d
		}
	}
	return strings.TrimPrefix(path, ":")
}

// run is one Up.
type run struct {
	machine *Machine
	options UpOptions
	began   time.Time
	cancel  context.CancelCauseFunc

	mu    sync.Mutex
	ready map[string]bool
}

func (r *run) tell(name, state, detail string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.options.Progress != nil {
		r.options.Progress(Progress{name, state, detail, time.Since(r.began)})
	}
}

func (r *run) supervise(ctx context.Context, spec process.Spec) {
	starts := 0
	err := process.Supervise(ctx, r.machine.RunDir(), spec, r.options.Log, func(p *process.Process) {
		starts++
		state := "started"
		if p.Since.Before(r.began) && starts == 1 {
			state = "adopted"
		}
		r.tell(spec.Name, state, fmt.Sprintf("pid %d", p.PID))
		r.mu.Lock()
		never := !r.ready[spec.Name]
		r.mu.Unlock()
		if never && starts > maxFailures {
			r.cancel(r.failure(spec.Name, fmt.Errorf("ended %d times before it was ready", maxFailures)))
		}
	})
	if err != nil {
		r.cancel(err)
	}
}

// failure is the error for a process that does not come up: with the last
// thing it said.
func (r *run) failure(name string, err error) error {
	log := process.LogPath(r.machine.RunDir(), name)
	if said := lastError(log); said != "" {
		err = fmt.Errorf("%w; it said: %s", err, said)
	}
	return &problem.Error{Op: "start", Subject: name, Err: err, Hint: "penstock doctor; the whole log is " + log}
}

// awaitReady polls until every process is ready, then says so.
func (r *run) awaitReady(ctx context.Context, specs []process.Spec) {
	timeout := time.NewTimer(r.options.Timeout)
	defer timeout.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	waits := map[string]string{}
	for {
		for _, spec := range specs {
			if r.isReady(spec.Name) {
				continue
			}
			pctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			err := r.machine.probe(pctx, r.options.Settings, spec.Name)
			cancel()
			if err == nil {
				r.setReady(spec.Name)
				r.tell(spec.Name, "ready", "")
				delete(waits, spec.Name)
			} else if waits[spec.Name] != err.Error() {
				waits[spec.Name] = err.Error()
				r.tell(spec.Name, "waiting", err.Error())
			}
		}
		if len(specs) == r.readyCount() {
			if r.options.Ready != nil {
				r.options.Ready()
			}
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-timeout.C:
			for _, spec := range specs {
				if w, ok := waits[spec.Name]; ok {
					r.cancel(r.failure(spec.Name, fmt.Errorf("not ready after %v: %s: %w", r.options.Timeout, w, problem.ErrTimeout)))
					return
				}
			}
		case <-tick.C:
		}
	}
}

func (r *run) isReady(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ready[name]
}

func (r *run) setReady(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ready == nil {
		r.ready = map[string]bool{}
	}
	r.ready[name] = true
}

func (r *run) readyCount() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ready)
}
