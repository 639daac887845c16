package render

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// PoolOptions configures a [Pool]. The zero value of every optional field works.
type PoolOptions struct {
	Base    string        // directory of the checkouts; required
	Program []string      // program and first arguments of a worker; default this program and "render-worker"
	Size    int           // workers at the same time; default 2
	Memory  uint64        // bytes of each worker; default 1 GiB
	Timeout time.Duration // of one rendering; default 30 s
	Idle    time.Duration // after which an unused worker ends; default 1 minute
	Log     *slog.Logger  // default discards
}

// requestsPerWorker is after how many renderings a worker is replaced, so that
// nothing that one rendering left behind stays for long.
const requestsPerWorker = 32

// Pool renders in worker processes. A worker serves one request at a time, is
// killed when it takes too long, and lives only for a number of requests.
type Pool struct {
	o     PoolOptions
	slots chan struct{}
	wg    sync.WaitGroup
	warn  sync.Once

	mu     sync.Mutex
	idle   []*worker
	closed bool
}

// NewPool returns a pool; workers are started when they are needed.
func NewPool(o PoolOptions) (*Pool, error) {
	if len(o.Program) == 0 {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find our own program: %w", err)
		}
		o.Program = []string{self, commandName}
	}
	if o.Size <= 0 {
		o.Size = 2
	}
	if o.Memory == 0 {
		o.Memory = 1 << 30
	}
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Idle <= 0 {
		o.Idle = time.Minute
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Pool{o: o, slots: make(chan struct{}, o.Size)}, nil
}

// Render renders req. An [Error] is the manifests' fault; anything else is
// ours, and worth another try.
func (p *Pool) Render(ctx context.Context, req Request) (*Result, error) {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	w, err := p.take()
	if err != nil {
		return nil, fmt.Errorf("start a render worker: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, p.o.Timeout, &Error{fmt.Sprintf("rendering took longer than %s", p.o.Timeout)})
	defer cancel()
	stop := context.AfterFunc(ctx, w.kill)
	resp, err := w.ask(req)
	if !stop() { // killed, or about to be
		w.end()
		return nil, context.Cause(ctx)
	}
	if err != nil {
		w.end()
		if why := w.crash(); why != "" {
			return nil, errorf("rendering broke its worker, which has limits of %d MiB of memory and %d s of CPU: %s", p.o.Memory>>20, workerCPUSeconds, why)
		}
		return nil, fmt.Errorf("ask the render worker: %w (%s)", err, w.stderr.String())
	}
	p.giveBack(w)
	if resp.Error != "" {
		return nil, &Error{resp.Error}
	}
	res := &Result{Type: resp.Type}
	for _, o := range resp.Objects {
		res.Objects = append(res.Objects, &unstructured.Unstructured{Object: o})
	}
	return res, nil
}

// Close ends the idle workers and waits for them. Renderings under way end
// with their contexts.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, w := range idle {
		w.expire.Stop()
		w.end()
	}
	p.wg.Wait()
}

// Whoever takes a worker out of the idle list ends it or gives it back.

func (p *Pool) take() (*worker, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		w := p.idle[n-1]
		p.idle = p.idle[:n-1]
		w.expire.Stop()
		return w, nil
	}
	return p.start()
}

func (p *Pool) giveBack(w *worker) {
	p.mu.Lock()
	if w.served++; !p.closed && w.served < requestsPerWorker {
		w.expire = time.AfterFunc(p.o.Idle, func() { p.drop(w) })
		p.idle = append(p.idle, w)
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	w.end()
}

// drop ends a worker that was idle for too long.
func (p *Pool) drop(w *worker) {
	p.mu.Lock()
	i := slices.Index(p.idle, w)
	if i < 0 {
		p.mu.Unlock()
		return
	}
	p.idle = slices.Delete(p.idle, i, i+1)
	p.wg.Add(1)
	p.mu.Unlock()
	defer p.wg.Done()
	w.end()
}

func (p *Pool) start() (*worker, error) {
	cmd := p.command()
	if isolate(cmd) {
		w, err := startWorker(cmd)
		if !errors.Is(err, fs.ErrPermission) {
			return w, err
		}
		cmd = p.command() // a container may forbid it even to root
	}
	p.warn.Do(func() {
		p.o.Log.Warn("render workers have the network of this process: it may not give them one of their own")
	})
	return startWorker(cmd)
}

func (p *Pool) command() *exec.Cmd {
	args := append(p.o.Program[1:len(p.o.Program):len(p.o.Program)],
		"--base", p.o.Base, "--memory", strconv.FormatUint(p.o.Memory, 10))
	cmd := exec.Command(p.o.Program[0], args...)
	cmd.Env = []string{"PATH=", "HOME=/", "LANG=C.UTF-8"}
	return cmd
}
