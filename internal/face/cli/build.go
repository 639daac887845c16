package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/penstock-dev/penstock/internal/base/atomicfile"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/supply/build"
)

// Builder builds images; package build has it.
type Builder interface {
	Build(ctx context.Context, r build.Request) (build.Result, error)
}

// Build makes the build command over the builder that open connects.
func Build(open func(g *Globals) (Builder, error)) Command {
	return func(g *Globals) *cobra.Command {
		var f buildFlags
		c := &cobra.Command{
			Use:   "build [flags] [DIRECTORY | GIT_REFERENCE]",
			Short: "Build an image with BuildKit",
			Long: `Build an image from a Dockerfile, with the flags of docker buildx build.

The context is a directory (default: this one) or a Git reference:
https://HOST/REPOSITORY.git#REF:DIRECTORY. With a tag and no output, the image
goes into the node, where Pods can use it by its name.`,
			Example: `  penstock build --tag shop:dev .
  penstock build --tag shop:dev --target test --progress plain .
  penstock build --output type=oci,dest=shop.tar --platform linux/amd64,linux/arm64 .
  penstock build --secret id=npmrc,src=$HOME/.npmrc --build-arg VERSION=1.2 .
  penstock build --tag shop:main http://penstock.localhost:7080/git/demo/shop.git#main`,
			Args: cobra.MaximumNArgs(1),
			RunE: func(c *cobra.Command, args []string) error {
				where := "."
				if len(args) == 1 {
					where = args[0]
				}
				return f.run(c.Context(), g, open, where)
			},
		}
		f.register(c.Flags())
		return c
	}
}

func (f *buildFlags) run(ctx context.Context, g *Globals, open func(g *Globals) (Builder, error), where string) error {
	r, err := f.request(where, environment{lookup: os.LookupEnv, exists: isFile, stdin: g.In})
	if err != nil {
		return err
	}
	r.Stdout = g.Out
	builder, err := open(g)
	if err != nil {
		return err
	}
	mode := f.progress
	if f.quiet {
		mode = build.DisplayQuiet
	}
	display, err := build.NewDisplay(g.Err, mode)
	if err != nil {
		return err
	}
	r.Progress = display.Update
	res, err := builder.Build(ctx, r)
	if derr := display.Close(); err == nil {
		err = derr
	}
	if err != nil {
		if e, ok := errors.AsType[*build.Error](err); ok {
			fmt.Fprint(g.Err, e.Excerpt)
		}
		return err
	}
	if !f.quiet && len(r.Outputs) == 1 && r.Outputs[0].Type == build.OutputCacheOnly && len(f.outputs) == 0 {
		fmt.Fprintln(g.Err, "warning: the result is in the build cache only; give it a --tag, or an --output")
	}
	return f.report(g.Out, r, res)
}

// report writes the files that were asked for and prints what was built.
func (f *buildFlags) report(w io.Writer, r build.Request, res build.Result) error {
	write := func(path string, data []byte) error {
		if err := atomicfile.Write(path, data, 0o644); err != nil {
			return &problem.Error{Op: "write", Subject: path, Err: err}
		}
		return nil
	}
	if f.metadataFile != "" {
		b, err := json.MarshalIndent(res.Metadata, "", "  ")
		if err != nil {
			return fmt.Errorf("encode metadata: %w", err)
		}
		if err := write(f.metadataFile, append(b, '\n')); err != nil {
			return err
		}
	}
	if f.iidFile != "" {
		if err := write(f.iidFile, []byte(res.Digest)); err != nil {
			return err
		}
	}
	for _, o := range r.Outputs {
		if o.Dest == "-" {
			return nil // standard output carries the image
		}
	}
	switch {
	case res.Digest == "":
	case f.quiet || len(res.Names) == 0:
		fmt.Fprintln(w, res.Digest)
	default:
		for _, n := range res.Names {
			fmt.Fprintln(w, n+"@"+res.Digest)
		}
	}
	return nil
}

func isFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular()
}
