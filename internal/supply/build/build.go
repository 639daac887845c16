// Package build turns a Dockerfile into an image. BuildKit does the work; this
// room says what to build and where the result goes: straight into the node,
// to a registry, or into files.
//
// [Request] is what a user asks for. [Builder.Build] resolves it, runs it, and
// tells what happened on the way as a stream of [Status]. A builder that goes
// away in the middle (the node was killed, or is being upgraded) is waited
// for, and the build is done again; what was already built comes from the
// cache.
package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/moby/buildkit/client"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Importer takes images into the node. The stream is an OCI layout as tar.
type Importer interface {
	ImportImage(ctx context.Context, name string, image io.Reader) error
}

// Options configure a Builder.
type Options struct {
	// Socket is the path of the image builder's unix socket.
	Socket string
	// Importer is needed for outputs into the node only.
	Importer Importer
	// Registries are the hosts of Penstock's own registry: by names of images,
	// and where the builder finds it. An image for the node that is named
	// after one is pushed as well.
	Registries []string
	// RegistryToken opens it.
	RegistryToken string
	// GitToken returns the access token for a Git remote, "" for none. It is
	// handed to git in its environment.
	GitToken func(remote string) string
	// Wait bounds how long a builder that went away is waited for. Default 2
	// minutes. StartWait is the same for the start of a build; default Wait.
	Wait, StartWait time.Duration
	// Attempts bounds how often one build is started. Default 5.
	Attempts int
	Log      *slog.Logger // default discards
}

// Builder builds images. It may be used by several goroutines.
type Builder struct{ o Options }

// New returns a builder. It connects when it builds.
func New(o Options) *Builder {
	if o.Wait == 0 {
		o.Wait = 2 * time.Minute
	}
	if o.StartWait == 0 {
		o.StartWait = o.Wait
	}
	if o.Attempts == 0 {
		o.Attempts = 5
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	quietLibraries(o.Log)
	return &Builder{o: o}
}

// Build runs r. The error of a build that ran and failed wraps
// [problem.ErrNegative] and, where a line of the Dockerfile is at fault, is a
// [*Error]. When ctx ends, the builder stops the build.
func (b *Builder) Build(ctx context.Context, r Request) (Result, error) {
	started := time.Now()
	if err := r.check(b.o.Importer != nil); err != nil {
		return Result{}, err
	}
	work, err := newWorkspace()
	if err != nil {
		return Result{}, err
	}
	defer work.remove()
	in, err := resolve(ctx, r, work, b.o.GitToken)
	if err != nil {
		return Result{}, err
	}
	watch := newWatch(r.Progress)
	var res Result
	for attempt := 1; ; attempt++ {
		res, err = b.attempt(ctx, r, in, work, watch)
		lost, wasLost := errors.AsType[*lostError](err)
		if !wasLost {
			break
		}
		if attempt == b.o.Attempts {
			return Result{}, &problem.Error{Op: "build", Subject: r.subject(), Code: problem.ExitFailed, Err: fmt.Errorf("the image builder went away %d times: %w", attempt, lost.err),
				Hint: "see the log of penstock-node for why it ends"}
		}
		b.o.Log.WarnContext(ctx, "image builder went away during a build", "attempt", attempt, "error", lost.err)
		watch.restart(fmt.Sprintf("the image builder went away; waiting for it, then building again (attempt %d of %d)", attempt+1, b.o.Attempts))
	}
	if err != nil {
		return Result{}, explain(ctx, err, r)
	}
	res.Started, res.Finished = started, time.Now()
	res.Attempts = watch.restarts + 1
	res.Steps, res.Cached = watch.counts()
	return res, nil
}

// attempt connects and builds once.
func (b *Builder) attempt(ctx context.Context, r Request, in inputs, work *workspace, w *watch) (Result, error) {
	wait := b.o.Wait
	if w.restarts == 0 {
		wait = b.o.StartWait
	}
	c, err := connect(ctx, b.o.Socket, wait, w.notice)
	if err != nil {
		return Result{}, err
	}
	defer c.close()
	outs, err := newOutputs(ctx, r, work, b.o)
	if err != nil {
		return Result{}, err
	}
	opt, err := solveOptions(r, in, outs, b.o)
	if err != nil {
		return Result{}, err
	}
	statuses := make(chan *client.SolveStatus)
	var wg sync.WaitGroup
	wg.Go(func() {
		for s := range statuses {
			w.see(fromSolve(s))
		}
	})
	resp, err := c.Solve(ctx, nil, opt, statuses)
	wg.Wait()
	// An output that failed is why the builder could not write its result.
	if oerr := outs.finish(ctx, err); oerr != nil {
		err = oerr
	}
	var res Result
	if err == nil {
		res, err = readResult(ctx, c.Client, resp.ExporterResponse, r)
	}
	if err != nil && ctx.Err() == nil && c.gone(ctx) {
		return Result{}, &lostError{err}
	}
	return res, err
}

// lostError marks that the connection broke, not the build.
type lostError struct{ err error }

func (e *lostError) Error() string { return "the image builder went away: " + e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }
