package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/opencontainers/go-digest"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Modes of a Display.
const (
	DisplayAuto  = "auto"  // tty on a terminal, else plain
	DisplayPlain = "plain" // lines
	DisplayTTY   = "tty"   // live, rewriting the screen
	DisplayQuiet = "quiet" // nothing
	DisplayJSON  = "rawjson"
)

// Display shows the progress of a build.
type Display struct {
	ch  chan *client.SolveStatus
	wg  sync.WaitGroup
	err error
}

// NewDisplay starts a display on w. The caller closes it.
func NewDisplay(w io.Writer, mode string) (*Display, error) {
	switch mode {
	case DisplayAuto, DisplayPlain, DisplayTTY, DisplayQuiet, DisplayJSON:
	default:
		return nil, &problem.Error{Op: "show progress", Code: problem.ExitUsage, Err: fmt.Errorf("%w: mode %q is not one of auto, plain, tty, quiet, rawjson", problem.ErrInvalid, mode)}
	}
	ui, err := progressui.NewDisplay(w, progressui.DisplayMode(mode))
	if err != nil {
		return nil, &problem.Error{Op: "show progress", Code: problem.ExitUsage, Err: fmt.Errorf("%w: mode %s needs a terminal: %w", problem.ErrInvalid, mode, err), Hint: "use --progress plain"}
	}
	d := &Display{ch: make(chan *client.SolveStatus, 64)}
	d.wg.Go(func() {
		// It ends when the channel is closed; the build's context must not
		// cut off what it has to say at the end.
		if _, err := ui.UpdateFrom(context.Background(), d.ch); err != nil {
			d.err = err
			for range d.ch { // let the build go on
			}
		}
	})
	return d, nil
}

// Update shows one status.
func (d *Display) Update(s Status) {
	out := toSolve(s)
	if s.Notice != "" {
		// As a step, so that only the display writes to its writer.
		now := time.Now()
		out.Vertexes = append(out.Vertexes, &client.Vertex{Digest: digest.FromString(now.String() + s.Notice), Name: s.Notice, Started: &now, Completed: &now})
	}
	d.ch <- out
}

// Close shows what is left and ends the display.
func (d *Display) Close() error {
	close(d.ch)
	d.wg.Wait()
	if d.err != nil && !errors.Is(d.err, context.Canceled) {
		return fmt.Errorf("show progress: %w", d.err)
	}
	return nil
}
