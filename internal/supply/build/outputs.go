package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/buildkit/client"

	"github.com/penstock-dev/penstock/internal/base/atomicfile"
)

// outputs are the outputs of one attempt. Files appear under their names, and
// the node has an image, only when the build has succeeded.
type outputs struct {
	exports []client.ExportEntry
	sinks   []sink
}

// sink takes what the builder writes for one output.
type sink interface {
	// open is called when the builder starts to write.
	open(ctx context.Context) (io.WriteCloser, error)
	// finish is called once after the build, which ended with err. It puts
	// the result in place, or removes what there is of it, and waits for
	// everything that open started.
	finish(ctx context.Context, err error) error
}

func newOutputs(ctx context.Context, r Request, work *workspace, bo Options) (*outputs, error) {
	outs := &outputs{}
	for _, o := range r.Outputs {
		if err := outs.add(ctx, o, r, work, bo.Importer); err != nil {
			return nil, err
		}
		if o.Type == OutputNode && !o.Local {
			outs.push(o, hostedNames(r.names(), bo.Registries))
		}
	}
	return outs, nil
}

// push adds the push of an image that goes into the node as well: Pods have it
// at once, and the registry has it for everybody else, and for a node that has
// lost it. It is the same image, so the media types must be.
func (outs *outputs) push(o Output, names []string) {
	if len(names) == 0 {
		return
	}
	e := client.ExportEntry{Type: client.ExporterImage, Attrs: layerAttrs(o.Attrs)}
	if e.Attrs["oci-mediatypes"] == "" {
		e.Attrs["oci-mediatypes"] = "true"
	}
	e.Attrs["push"], e.Attrs["store"] = "true", "false"
	e.Attrs["name"] = strings.Join(names, ",")
	outs.exports = append(outs.exports, e)
}

// hostedNames are those of the names that are in one of the registries.
func hostedNames(names, registries []string) []string {
	var out []string
	for _, n := range names {
		if host, _, _ := strings.Cut(n, "/"); slices.Contains(registries, host) {
			out = append(out, n)
		}
	}
	return out
}

func (outs *outputs) add(ctx context.Context, o Output, r Request, work *workspace, node Importer) error {
	e := client.ExportEntry{Type: o.Type, Attrs: map[string]string{}} // oci, docker, local and tar are BuildKit's own names
	maps.Copy(e.Attrs, o.Attrs)
	if o.image() {
		e.Attrs = layerAttrs(o.Attrs)
	}
	if o.image() && o.Type != OutputNode && len(r.Tags) > 0 {
		e.Attrs["name"] = strings.Join(r.names(), ",")
	}
	var s sink
	switch {
	case o.Type == OutputCacheOnly:
		return nil // a build without exports is just that
	case o.Type == OutputPush:
		e.Type = client.ExporterImage
		e.Attrs["push"] = "true"
	case o.Type == OutputNode && len(r.names()) == 1:
		e.Type = client.ExporterOCI
		s = &streamToNode{node: node, name: r.names()[0]}
	case o.Type == OutputNode:
		dir, err := work.sub("image")
		if err != nil {
			return err
		}
		e.Type = client.ExporterOCI
		s = &spoolToNode{file: &fileSink{path: filepath.Join(dir, "image.tar")}, node: node, names: r.names()}
	case o.directory():
		e.OutputDir = o.Dest
	case o.Dest == "-":
		s = &writerSink{r.Stdout}
	default:
		s = &fileSink{path: o.Dest}
	}
	if s != nil {
		e.Output = func(map[string]string) (io.WriteCloser, error) { return s.open(ctx) }
		outs.sinks = append(outs.sinks, s)
	}
	outs.exports = append(outs.exports, e)
	return nil
}

// finish ends every output after a build that ended with err, and returns why
// an output failed.
func (outs *outputs) finish(ctx context.Context, err error) error {
	var errs []error
	for _, s := range outs.sinks {
		errs = append(errs, s.finish(ctx, err))
	}
	return errors.Join(errs...)
}

// streamToNode hands the image to the node while it is being written.
type streamToNode struct {
	node Importer
	name string
	pipe *io.PipeWriter
	done chan error
}

func (s *streamToNode) open(ctx context.Context) (io.WriteCloser, error) {
	if s.pipe != nil {
		return nil, errors.New("the image was written twice")
	}
	r, w := io.Pipe()
	s.pipe, s.done = w, make(chan error, 1)
	go func() {
		// Without Close: what follows the end of the archive is still to come
		// when the importer, or its HTTP client, has seen enough.
		err := s.node.ImportImage(ctx, s.name, struct{ io.Reader }{r})
		if err == nil {
			_, err = io.Copy(io.Discard, r)
		}
		_ = r.CloseWithError(errors.Join(err, io.ErrClosedPipe)) // a reader's Close has no error
		s.done <- err
	}()
	// The builder's stream may break off and still be closed in order. The
	// node sees the end only when the build has succeeded.
	return keepOpen{w}, nil
}

func (s *streamToNode) finish(_ context.Context, err error) error {
	if s.pipe == nil {
		return nil
	}
	_ = s.pipe.CloseWithError(err) // nil is io.EOF; a writer's Close has no error
	if ierr := <-s.done; ierr != nil && !(err != nil && errors.Is(ierr, err)) {
		return fmt.Errorf("import %s into the node: %w", s.name, ierr)
	}
	return nil
}

// spoolToNode keeps the image in a file first, because every name takes a
// stream of its own.
type spoolToNode struct {
	file  *fileSink
	node  Importer
	names []string
}

func (s *spoolToNode) open(ctx context.Context) (io.WriteCloser, error) { return s.file.open(ctx) }

func (s *spoolToNode) finish(ctx context.Context, err error) error {
	if ferr := s.file.finish(ctx, err); ferr != nil || err != nil {
		return ferr
	}
	for _, name := range s.names {
		if err := s.importAs(ctx, name); err != nil {
			return fmt.Errorf("import %s into the node: %w", name, err)
		}
	}
	return nil
}

func (s *spoolToNode) importAs(ctx context.Context, name string) error {
	f, err := os.Open(s.file.path)
	if err != nil {
		return err
	}
	defer f.Close()
	return s.node.ImportImage(ctx, name, f)
}

// fileSink writes a file beside its place and moves it there at the end.
type fileSink struct {
	path string
	f    *os.File
}

func (s *fileSink) open(context.Context) (io.WriteCloser, error) {
	if s.f != nil {
		return nil, errors.New("the file was written twice")
	}
	f, err := os.CreateTemp(filepath.Dir(s.path), "."+filepath.Base(s.path)+"-*")
	if err != nil {
		return nil, fmt.Errorf("create output: %w", err)
	}
	s.f = f
	return keepOpen{f}, nil
}

func (s *fileSink) finish(_ context.Context, err error) error {
	if s.f == nil {
		return nil
	}
	defer os.Remove(s.f.Name()) // no more there after the rename
	if err != nil {
		_ = s.f.Close() // it is thrown away
		return nil
	}
	if err := errors.Join(s.f.Chmod(0o644), s.f.Sync(), s.f.Close()); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	if err := os.Rename(s.f.Name(), s.path); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	if err := atomicfile.SyncDir(filepath.Dir(s.path)); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// writerSink writes to a stream that stays open.
type writerSink struct{ w io.Writer }

func (s *writerSink) open(context.Context) (io.WriteCloser, error) { return keepOpen{s.w}, nil }
func (s *writerSink) finish(context.Context, error) error          { return nil }

// keepOpen leaves closing to who opened.
type keepOpen struct{ io.Writer }

func (keepOpen) Close() error { return nil }
