// Command baseimages makes images for tests from Debian packages, on a machine
// that has no container engine and no registry to pull from: what upstream's
// workflows, Dockerfiles and manifests call busybox, node or postgres.
//
//	go run ./test/baseimages -o DIR [NAME...]
//
// DIR gets an OCI layout with an image for each name ("oci:DIR/layout:node"),
// and for each a docker archive that carries its aliases as tags, which
// `penstock image import` takes. The packages come from this machine's own apt
// sources and are kept in DIR/packages. No package's scripts are run; the same
// packages always give the same images.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/match"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func main() {
	out := flag.String("o", "", "`directory` for the images and the packages")
	list := flag.Bool("l", false, "list the images and their aliases")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, *out, *list, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "baseimages:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, w io.Writer, out string, list bool, names []string) error {
	aliases, err := readAliases()
	if err != nil {
		return err
	}
	if list {
		for _, r := range recipes {
			fmt.Fprintf(w, "%s\t%s\n", r.name, strings.Join(aliases[r.name], " "))
		}
		return nil
	}
	if out == "" {
		return errors.New("-o names the directory for the images")
	}
	if out, err = filepath.Abs(out); err != nil {
		return err
	}
	if len(names) == 0 {
		for _, r := range recipes {
			names = append(names, r.name)
		}
	}
	k := &kitchen{out: out}
	for _, n := range names {
		d, err := k.make(ctx, n)
		if err == nil {
			err = keep(out, n, d.image, aliases[n])
		}
		if err != nil {
			return fmt.Errorf("make %s: %w", n, err)
		}
		digest, err := d.image.Digest()
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s\t%s\n", n, digest)
	}
	return nil
}

const refName = "org.opencontainers.image.ref.name"

// keep writes the image to the layout, in place of an older one, and to an
// archive.
func keep(out, n string, img v1.Image, aliases []string) error {
	dir := filepath.Join(out, "layout")
	l, err := layout.FromPath(dir)
	if errors.Is(err, os.ErrNotExist) {
		l, err = layout.Write(dir, empty.Index)
	}
	if err != nil {
		return err
	}
	if err := l.ReplaceImage(img, match.Annotation(refName, n), layout.WithAnnotations(map[string]string{refName: n})); err != nil {
		return err
	}
	tags := map[name.Tag]v1.Image{}
	for _, a := range aliases {
		t, err := name.NewTag(a)
		if err != nil {
			return err
		}
		tags[t] = img
	}
	file := filepath.Join(out, n+".tar")
	if err := tarball.MultiWriteToFile(file+".tmp", tags); err != nil {
		return err
	}
	return os.Rename(file+".tmp", file)
}
