package build

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/solver/errdefs"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Error is a build that failed at a place in its Dockerfile.
type Error struct {
	// Excerpt shows the lines around the place, the ones at fault marked.
	Excerpt string
	Err     error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// explain turns what BuildKit says into an error for users.
func explain(ctx context.Context, err error, r Request) error {
	if ctx.Err() != nil {
		return fmt.Errorf("build %s: %w", r.subject(), ctx.Err())
	}
	if _, ok := errors.AsType[*problem.Error](err); ok {
		return err
	}
	text := strings.TrimPrefix(err.Error(), "failed to solve: ")
	// The text of a gRPC error repeats its code; people need the rest.
	text = strings.TrimPrefix(text, "rpc error: code = Unknown desc = ")
	p := &problem.Error{Op: "build", Subject: r.subject(), Code: problem.ExitNegative, Err: failure{text, err}}
	for _, h := range hints {
		if strings.Contains(text, h.says) {
			p.Hint = h.hint
			break
		}
	}
	var b strings.Builder
	for _, s := range errdefs.Sources(err) {
		_ = s.Print(&b) // a strings.Builder takes everything
	}
	if b.Len() == 0 {
		return p
	}
	return &Error{Excerpt: b.String(), Err: p}
}

var hints = []struct{ says, hint string }{
	{"network.host is not allowed", "RUN steps have a network of their own; remove --network=host"},
	{"security.insecure is not allowed", "RUN steps run without privileges; remove --security=insecure"},
	{"failed to read dockerfile", "name the Dockerfile with --file"},
	{"no such host", "the builder needs the network for this; --build-context NAME=oci-layout://DIRECTORY builds on an image from disk"},
	{"failed to do request", "the builder needs the network for this; --build-context NAME=oci-layout://DIRECTORY builds on an image from disk"},
}

// failure has the text for people and the chain for programs.
type failure struct {
	text string
	err  error
}

func (f failure) Error() string   { return f.text }
func (f failure) Unwrap() []error { return []error{problem.ErrNegative, f.err} }
