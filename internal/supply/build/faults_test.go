//go:build linux

package build_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/supply/build"
	"github.com/penstock-dev/penstock/internal/supply/build/buildtest"
)

// TestDiskFull builds on a disk that is too small for it.
func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=48m,mode=700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after the server's stop
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	srv := buildtest.StartAt(t, filepath.Join(disk, "root"))
	b := build.New(build.Options{Socket: srv.Socket})
	large := files(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY bin /bin\nRUN busybox dd if=/dev/zero of=/large bs=1M count=100\n"})
	none := []build.Output{{Type: build.OutputCacheOnly}}
	for range 2 { // what the first left over must not break the second
		p := &transcript{}
		_, err := b.Build(t.Context(), build.Request{Context: large, Outputs: none, Progress: p.update})
		if !errors.Is(err, problem.ErrNegative) || !strings.Contains(p.String(), "No space left on device") {
			t.Errorf("err = %v, log = %s", err, p)
		}
	}
	small := files(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY bin /bin\nRUN echo fits > /small\n"})
	if _, err := b.Build(t.Context(), build.Request{Context: small, Outputs: none}); err != nil {
		t.Errorf("a small build after the large one: %v", err)
	}

	t.Run("filled by others", func(t *testing.T) {
		srv.Stop(t)
		ballast := filepath.Join(disk, "ballast")
		if err := fill(ballast); err != nil {
			t.Fatal(err)
		}
		srv.Run(t)                                  // what is there can be read
		if err := fill(ballast + "2"); err != nil { // what the start made room with
			t.Fatal(err)
		}
		_, err := b.Build(t.Context(), build.Request{Context: small, NoCache: true, Outputs: none})
		if err == nil || !strings.Contains(err.Error(), "no space left on device") {
			t.Errorf("err = %v", err)
		}
		if err := errors.Join(os.Remove(ballast), os.Remove(ballast+"2")); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Build(t.Context(), build.Request{Context: small, NoCache: true, Outputs: none}); err != nil {
			t.Errorf("with room again: %v", err)
		}
	})
}

func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// TestManyKills kills the builder at different points of builds that share
// their steps, and counts what comes of it: every build succeeds, and nothing
// is left.
func TestManyKills(t *testing.T) {
	srv := buildtest.Start(t)
	dir := files(t, map[string]string{"Dockerfile": `FROM scratch AS base
COPY bin /bin
RUN --mount=type=cache,target=/c sleep 0.2; echo a > /a
RUN --mount=type=cache,target=/c sleep 0.2; echo b > /b
FROM base AS x
ARG N
RUN echo $N > /n; sleep 0.2
FROM base AS y
RUN --mount=type=secret,id=s sleep 0.3; cp /run/secrets/s /s
FROM scratch
COPY --from=x /n /
COPY --from=y /s /
`})
	n := &node{}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	errs := make(chan error, 3)
	for _, arg := range []string{"1", "2", "3"} {
		wg.Go(func() {
			_, err := build.New(build.Options{Socket: srv.Socket, Importer: n, Wait: 30 * time.Second, Attempts: 20}).Build(ctx, build.Request{
				Context: dir, ContextKey: "many", Args: map[string]string{"N": arg}, Tags: []string{"n:" + arg}, Outputs: []build.Output{{Type: build.OutputNode}},
				Secrets: []build.Secret{{ID: "s", Value: []byte("v")}},
			})
			errs <- err
		})
	}
	for _, after := range []int{50, 150, 300, 500, 800} {
		time.Sleep(time.Duration(after) * time.Millisecond) // anywhere: no point may be worse than another
		srv.Kill(t)
		srv.Run(t)
	}
	wg.Wait()
	for range 3 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	for _, arg := range []string{"1", "2", "3"} {
		if i := n.index(t, "docker.io/library/n:"+arg); len(i.Manifests) != 1 {
			t.Errorf("image %s: %+v", arg, i)
		}
	}
	srv.Stop(t)
	if left := srv.Left(t); len(left) > 0 {
		t.Errorf("left after the stop:\n%s", strings.Join(left, "\n"))
	}
}
