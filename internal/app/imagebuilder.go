package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/ci/actions"
	"github.com/penstock-dev/penstock/internal/host/node"
	"github.com/penstock-dev/penstock/internal/supply/build"
)

// nodeImages puts what was built into the node.
type nodeImages struct{ node *node.Client }

// ImportImage takes an OCI layout as tar.
func (n nodeImages) ImportImage(ctx context.Context, name string, r io.Reader) error {
	_, err := n.node.ImportImage(ctx, r, name)
	return err
}

// imageBuilder builds images for docker/build-push-action. What it is asked
// comes from a workflow, and it has the rights of this process.
type imageBuilder struct{ builder *build.Builder }

func (b imageBuilder) Build(ctx context.Context, r actions.Build, log func(line string)) (actions.Built, error) {
	req, err := ciRequest(r)
	if err != nil {
		return actions.Built{}, err
	}
	out := &lineWriter{emit: log}
	display, err := build.NewDisplay(out, build.DisplayPlain)
	if err != nil {
		return actions.Built{}, err
	}
	req.Progress = display.Update
	res, err := b.builder.Build(ctx, req)
	if derr := display.Close(); err == nil {
		err = derr
	}
	if e, ok := errors.AsType[*build.Error](err); ok {
		fmt.Fprint(out, e.Excerpt)
	}
	out.flush()
	if err != nil {
		return actions.Built{}, err
	}
	meta, err := json.Marshal(res.Metadata)
	if err != nil {
		return actions.Built{}, fmt.Errorf("encode metadata: %w", err)
	}
	return actions.Built{ImageID: res.ConfigDigest, Digest: res.Digest, Metadata: meta}, nil
}

// ciRequest says what a step asks for in the words of package build.
func ciRequest(r actions.Build) (build.Request, error) {
	req := build.Request{
		Context: r.Context, Dockerfile: r.Dockerfile, Target: r.Target, Args: r.Args, Labels: r.Labels, Platforms: r.Platforms,
		Tags: r.Tags, NoCache: r.NoCache, Pull: r.Pull, Outputs: []build.Output{{Type: build.OutputNode, Local: !r.Push}},
		OnBehalf: true, RegistryToken: r.Token,
	}
	if len(r.Tags) == 0 {
		req.Outputs = []build.Output{{Type: build.OutputCacheOnly}}
	} else {
		// The directory is another one for each job; the image is the same.
		name, _, _ := strings.Cut(r.Tags[0], "@")
		if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
			name = name[:i]
		}
		req.ContextKey = "ci:" + name
	}
	for id, v := range r.Secrets {
		req.Secrets = append(req.Secrets, build.Secret{ID: id, Value: v})
	}
	for _, c := range []struct {
		input string
		texts []string
		to    *[]build.Cache
	}{{"cache-from", r.CacheFrom, &req.CacheFrom}, {"cache-to", r.CacheTo, &req.CacheTo}} {
		list, err := build.ParseCaches(c.texts)
		if err != nil {
			return build.Request{}, fmt.Errorf("%s '%s': %w: %w", c.input, strings.Join(c.texts, " "), problem.ErrInvalid, err)
		}
		for _, one := range list {
			// A directory of this machine is none of the job.
			if one.Type == "local" {
				return build.Request{}, fmt.Errorf("%s: %w: type=local is not for jobs; the builder keeps its own cache on this machine", c.input, problem.ErrForbidden)
			}
		}
		*c.to = list
	}
	return req, nil
}

// lineWriter hands on whole lines.
type lineWriter struct {
	part bytes.Buffer
	emit func(line string)
}

var _ io.Writer = (*lineWriter)(nil)

func (w *lineWriter) Write(p []byte) (int, error) {
	for rest := p; ; {
		line, after, ok := bytes.Cut(rest, []byte("\n"))
		w.part.Write(line)
		if !ok {
			return len(p), nil
		}
		w.emit(w.part.String())
		w.part.Reset()
		rest = after
	}
}

// flush hands on a last line without an end.
func (w *lineWriter) flush() {
	if w.part.Len() > 0 {
		w.emit(w.part.String())
		w.part.Reset()
	}
}
