//go:build bench && linux

// Package build measures the image builder: what a build costs when nothing is
// in the cache, when one source file changed, and when all is there; a step;
// and the way of an image to the node with each compression.
//
//	go test -tags bench -run '^$' -bench . ./bench/build
package build

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/supply/build"
	"github.com/penstock-dev/penstock/internal/supply/build/buildtest"
)

// dockerfile has the shape of a service's: tools, dependencies, compile and
// test beside each other, and an image with the result only.
const dockerfile = `FROM scratch AS tools
COPY busybox /bin/busybox
SHELL ["/bin/busybox", "sh", "-c"]
WORKDIR /src

FROM tools AS deps
COPY deps.txt .
RUN busybox cp deps.txt /deps

FROM deps AS compile
COPY main.txt .
RUN --mount=type=cache,target=/cache busybox cp main.txt /cache/ && busybox cat /deps main.txt > /app

FROM compile AS test
RUN busybox test -s /app && echo ok > /tested

FROM scratch
COPY --from=compile /app /app
COPY --from=test /tested /tested
`

func project(b *testing.B) string {
	b.Helper()
	dir := b.TempDir()
	box, err := os.ReadFile("/bin/busybox")
	if err != nil {
		b.Skip("needs busybox-static")
	}
	for name, content := range map[string][]byte{
		"busybox": box, "Dockerfile": []byte(dockerfile), "deps.txt": []byte("deps"), "main.txt": []byte("main"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o755); err != nil {
			b.Fatal(err)
		}
	}
	return dir
}

// sink is a node that reads what it gets.
type sink struct{ bytes int64 }

func (s *sink) ImportImage(_ context.Context, _ string, r io.Reader) (err error) {
	s.bytes, err = io.Copy(io.Discard, r)
	return err
}

func run(b *testing.B, bl *build.Builder, r build.Request) build.Result {
	b.Helper()
	res, err := bl.Build(b.Context(), r)
	if err != nil {
		b.Fatal(err)
	}
	return res
}

func BenchmarkMultiStage(b *testing.B) {
	srv := buildtest.Start(b)
	dir := project(b)
	bl := build.New(build.Options{Socket: srv.Socket, Importer: &sink{}})
	r := build.Request{Context: dir, Tags: []string{"bench:1"}, Outputs: []build.Output{{Type: build.OutputNode}}}
	run(b, bl, r) // the first build also starts what starts lazily

	b.Run("cold", func(b *testing.B) {
		r := r
		r.NoCache = true
		for b.Loop() {
			run(b, bl, r)
		}
	})
	b.Run("change", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if err := os.WriteFile(filepath.Join(dir, "main.txt"), fmt.Appendf(nil, "main %d %d", i, rand.Uint64()), 0o644); err != nil {
				b.Fatal(err)
			}
			run(b, bl, r)
		}
	})
	b.Run("warm", func(b *testing.B) {
		run(b, bl, r)
		for b.Loop() {
			if res := run(b, bl, r); res.Cached == 0 {
				b.Fatal("not from the cache")
			}
		}
	})
}

// BenchmarkStep is one RUN of a program that does nothing: the container, its
// network and its snapshot. The slope over the number of steps is the price of
// one.
func BenchmarkStep(b *testing.B) {
	srv := buildtest.Start(b)
	bl := build.New(build.Options{Socket: srv.Socket})
	for _, steps := range []int{1, 11} {
		b.Run(fmt.Sprintf("steps=%d", steps), func(b *testing.B) {
			dir := project(b)
			df := "FROM scratch\nCOPY busybox /bin/busybox\n" + strings.Repeat("RUN [\"/bin/busybox\", \"true\"]\n", steps)
			if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(df), 0o644); err != nil {
				b.Fatal(err)
			}
			r := build.Request{Context: dir, NoCache: true, Outputs: []build.Output{{Type: build.OutputCacheOnly}}}
			run(b, bl, r)
			for b.Loop() {
				run(b, bl, r)
			}
		})
	}
}

// BenchmarkToNode is an image with a new 16 MiB program on its way to the
// node, half of it compressible.
func BenchmarkToNode(b *testing.B) {
	srv := buildtest.Start(b)
	for name, attrs := range map[string]map[string]string{
		"default":      {},
		"gzip-1":       {"compression": "gzip", "compression-level": "1"},
		"gzip-6":       {"compression": "gzip", "compression-level": "6"},
		"zstd":         {"compression": "zstd"},
		"uncompressed": {"compression": "uncompressed"},
	} {
		b.Run(name, func(b *testing.B) {
			dir := project(b)
			if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nCOPY app /app\n"), 0o644); err != nil {
				b.Fatal(err)
			}
			node := &sink{}
			bl := build.New(build.Options{Socket: srv.Socket, Importer: node})
			r := build.Request{Context: dir, Tags: []string{"bench:1"}, Outputs: []build.Output{{Type: build.OutputNode, Attrs: attrs}}}
			for b.Loop() {
				b.StopTimer()
				if err := os.WriteFile(filepath.Join(dir, "app"), program(), 0o755); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				run(b, bl, r)
			}
			b.ReportMetric(float64(node.bytes)/1e6, "MB")
		})
	}
}

func program() []byte {
	p := make([]byte, 16<<20)
	seed := [32]byte{}
	for i := range seed {
		seed[i] = byte(rand.Uint32())
	}
	r := rand.NewChaCha8(seed)
	for off := 0; off < len(p); off += 128 {
		_, _ = r.Read(p[off : off+64]) // never fails
	}
	return p
}

// BenchmarkStart is the builder's start: from the process to the first build
// accepted.
func BenchmarkStart(b *testing.B) {
	srv := buildtest.Start(b)
	for b.Loop() {
		b.StopTimer()
		srv.Stop(b)
		b.StartTimer()
		srv.Run(b)
	}
}
