//go:build linux

package build_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/supply/build"
	"github.com/penstock-dev/penstock/internal/supply/build/buildtest"
)

// files makes a build context with busybox in it, which stands for the tools
// of a base image.
func files(t testing.TB, content map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("needs busybox-static for the contents of images")
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/busybox"), b, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tool := range []string{"sh", "echo", "cat", "sleep", "date", "wget", "nc", "true", "false", "cp", "mkdir", "test", "ls"} {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", tool)); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range content {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(c), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// node is an importer that keeps what it gets.
type node struct {
	mu     sync.Mutex
	images map[string][]byte
}

func (n *node) ImportImage(_ context.Context, name string, r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.images == nil {
		n.images = map[string][]byte{}
	}
	n.images[name] = b
	return nil
}

// index returns the index.json of the OCI archive that came as name.
func (n *node) index(t *testing.T, name string) ocispecs.Index {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	return indexOf(t, bytes.NewReader(n.images[name]))
}

func indexOf(t *testing.T, r io.Reader) ocispecs.Index {
	t.Helper()
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err != nil {
			t.Fatalf("no index.json in the archive: %v", err)
		}
		if h.Name != "index.json" {
			continue
		}
		var i ocispecs.Index
		if err := json.NewDecoder(tr).Decode(&i); err != nil {
			t.Fatal(err)
		}
		return i
	}
}

// transcript collects the progress of a build.
type transcript struct {
	mu      sync.Mutex
	log     strings.Builder
	steps   map[string]build.Step
	notices []string
	onLog   func(string)
}

func (p *transcript) update(s build.Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.steps == nil {
		p.steps = map[string]build.Step{}
	}
	for _, st := range s.Steps {
		p.steps[st.Name] = st
	}
	for _, l := range s.Logs {
		p.log.Write(l.Data)
		if p.onLog != nil {
			p.onLog(string(l.Data))
		}
	}
	if s.Notice != "" {
		p.notices = append(p.notices, s.Notice)
	}
}

func (p *transcript) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

const multiStage = `FROM scratch AS base
COPY bin /bin

FROM base AS compile
ARG VERSION=none
COPY main.txt /src/main.txt
RUN --mount=type=cache,target=/cache \
    echo "built $VERSION from $(cat /src/main.txt)" > /out.txt; \
    echo "runs before: $(ls /cache | busybox wc -l)"; echo x > /cache/$(busybox date +%s%N)

FROM base AS test
RUN --mount=type=secret,id=token test "$(cat /run/secrets/token)" = hunter2-sesame && echo "secret is there" > /tested.txt

FROM scratch
COPY --from=compile /out.txt /out.txt
COPY --from=test /tested.txt /tested.txt
LABEL from=dockerfile
ENTRYPOINT ["/out.txt"]
`

func TestBuildIntoNode(t *testing.T) {
	srv := buildtest.Start(t)
	dir := files(t, map[string]string{"Dockerfile": multiStage, "main.txt": "source"})
	n := &node{}
	b := build.New(build.Options{Socket: srv.Socket, Importer: n})
	p := &transcript{}
	r := build.Request{
		Context: dir, Tags: []string{"shop:dev", "penstock.localhost:7080/demo/shop:1"}, Outputs: []build.Output{{Type: build.OutputNode}},
		Args: map[string]string{"VERSION": "1.2"}, Labels: map[string]string{"by": "test"},
		Secrets:  []build.Secret{{ID: "token", Value: []byte("hunter2-sesame")}},
		Progress: p.update,
	}
	res, err := b.Build(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"docker.io/library/shop:dev", "penstock.localhost:7080/demo/shop:1"}
	if !slices.Equal(res.Names, want) {
		t.Errorf("names = %q, want %q", res.Names, want)
	}
	for _, name := range want {
		if i := n.index(t, name); len(i.Manifests) != 1 || i.Manifests[0].Digest.String() != res.Digest {
			t.Errorf("node got %+v as %s, want digest %s", i.Manifests, name, res.Digest)
		}
	}
	if res.Attempts != 1 || res.Steps == 0 || len(res.Platforms) != 1 || res.Platforms[0].Digest != res.Digest {
		t.Errorf("result = %+v", res)
	}
	if strings.Contains(p.String(), "sesame") {
		t.Error("the secret is in the log")
	}
	if !strings.Contains(p.String(), "runs before: 0") {
		t.Errorf("cache mount was not empty at first: %s", p)
	}

	t.Run("second build is cached and the same", func(t *testing.T) {
		again, err := b.Build(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if again.Digest != res.Digest {
			t.Errorf("digest = %s, want %s", again.Digest, res.Digest)
		}
		for name, s := range p.steps {
			if strings.Contains(name, "] RUN ") && !s.Cached {
				t.Errorf("step %q was not cached", name)
			}
		}
	})
	t.Run("the image has one digest wherever it goes", func(t *testing.T) {
		r := r
		r.Outputs = []build.Output{{Type: build.OutputOCI, Dest: filepath.Join(t.TempDir(), "i.tar")}}
		r.Tags = nil
		file, err := b.Build(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if file.Digest != res.Digest {
			t.Errorf("digest = %s in a file, %s in the node", file.Digest, res.Digest)
		}
	})
	t.Run("cache mounts keep their content when a step runs again", func(t *testing.T) {
		r := r
		r.Args = map[string]string{"VERSION": "1.3"}
		p := &transcript{}
		r.Progress = p.update
		if _, err := b.Build(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(p.String(), "runs before: 1") {
			t.Errorf("log = %q", p)
		}
	})
	t.Run("a changed file changes the image", func(t *testing.T) {
		if err := os.WriteFile(filepath.Join(dir, "main.txt"), []byte("other source"), 0o644); err != nil {
			t.Fatal(err)
		}
		other, err := b.Build(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if other.Digest == res.Digest {
			t.Error("digest did not change")
		}
	})
	t.Run("a wrong secret fails the step", func(t *testing.T) {
		r := r
		r.NoCache = true
		r.Secrets = []build.Secret{{ID: "token", Value: []byte("wrong-value")}}
		_, err := b.Build(t.Context(), r)
		if !errors.Is(err, problem.ErrNegative) {
			t.Errorf("err = %v", err)
		}
		if err != nil && strings.Contains(err.Error(), "wrong-value") {
			t.Errorf("the secret is in the error: %v", err)
		}
	})
}

func TestBuildErrors(t *testing.T) {
	srv := buildtest.Start(t)
	b := build.New(build.Options{Socket: srv.Socket, Importer: &node{}})
	for _, c := range []struct {
		name, dockerfile string
		excerpt, text    string
	}{
		{"step fails", "FROM scratch\nCOPY bin /bin\n\nRUN false\n", "Dockerfile:4\n--------------------\n   2 |     COPY bin /bin\n   3 |     \n   4 | >>> RUN false\n", "exit code: 1"},
		{"unknown instruction", "FROM scratch\nCOPI bin /bin\n", "   2 | >>> COPI bin /bin\n", "unknown instruction: COPI (did you mean COPY?)"},
		{"missing file", "FROM scratch\nCOPY nothing /\n", "   2 | >>> COPY nothing /\n", `"/nothing": not found`},
		{"missing stage", "FROM scratch\nCOPY --from=nobody / /\n", "", "nobody"},
		{"host network", "FROM scratch\nCOPY bin /bin\nRUN --network=host true\n", "", "network.host is not allowed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := b.Build(t.Context(), build.Request{Context: files(t, map[string]string{"Dockerfile": c.dockerfile}), Outputs: []build.Output{{Type: build.OutputCacheOnly}}})
			if err == nil {
				t.Fatal("no error")
			}
			if code := problem.ExitCode(err); code != problem.ExitNegative {
				t.Errorf("exit code = %d, want %d", code, problem.ExitNegative)
			}
			if !strings.Contains(err.Error(), c.text) {
				t.Errorf("err = %v, want %q in it", err, c.text)
			}
			var e *build.Error
			if c.excerpt != "" && (!errors.As(err, &e) || !strings.Contains(e.Excerpt, c.excerpt)) {
				t.Errorf("excerpt of %#v lacks %q", e, c.excerpt)
			}
		})
	}
}

func TestBuildOutputs(t *testing.T) {
	srv := buildtest.Start(t)
	b := build.New(build.Options{Socket: srv.Socket})
	dir := files(t, map[string]string{"Dockerfile": "# syntax=docker/dockerfile:1\nFROM scratch\nCOPY main.txt /main.txt\n", "main.txt": "hello"})
	out := t.TempDir()

	t.Run("oci tar for two platforms", func(t *testing.T) {
		res, err := b.Build(t.Context(), build.Request{Context: dir, Platforms: []string{"linux/amd64", "linux/arm64"}, Outputs: []build.Output{{Type: build.OutputOCI, Dest: filepath.Join(out, "i.tar")}}})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range res.Platforms {
			got = append(got, p.Platform)
		}
		if !slices.Equal(got, []string{"linux/amd64", "linux/arm64"}) {
			t.Errorf("platforms = %q", got)
		}
		f, err := os.Open(filepath.Join(out, "i.tar"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if i := indexOf(t, f); i.Manifests[0].Digest.String() != res.Digest {
			t.Errorf("index = %+v, want %s", i, res.Digest)
		}
	})
	t.Run("oci directory, and a build on it", func(t *testing.T) {
		layout := filepath.Join(out, "layout")
		if _, err := b.Build(t.Context(), build.Request{Context: dir, Outputs: []build.Output{{Type: build.OutputOCI, Dest: layout, Attrs: map[string]string{"tar": "false"}}}}); err != nil {
			t.Fatal(err)
		}
		on := files(t, map[string]string{"Dockerfile": "FROM base\nCOPY more.txt /more.txt\n", "more.txt": "more"})
		files := filepath.Join(out, "files")
		if _, err := b.Build(t.Context(), build.Request{Context: on, Contexts: map[string]string{"base": "oci-layout://" + layout}, Outputs: []build.Output{{Type: build.OutputLocal, Dest: files}}}); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{"main.txt": "hello", "more.txt": "more"} {
			if b, err := os.ReadFile(filepath.Join(files, name)); err != nil || string(b) != want {
				t.Errorf("%s = %q, %v", name, b, err)
			}
		}
	})
	t.Run("docker archive", func(t *testing.T) {
		path := filepath.Join(out, "d.tar")
		if _, err := b.Build(t.Context(), build.Request{Context: dir, Tags: []string{"x:y"}, Outputs: []build.Output{{Type: build.OutputDocker, Dest: path}}}); err != nil {
			t.Fatal(err)
		}
		list, err := exec.Command("tar", "-tf", path).Output()
		if err != nil || !strings.Contains(string(list), "manifest.json") {
			t.Errorf("archive = %s, %v", list, err)
		}
	})
	t.Run("tar to a stream", func(t *testing.T) {
		var buf bytes.Buffer
		if _, err := b.Build(t.Context(), build.Request{Context: dir, Stdout: &buf, Outputs: []build.Output{{Type: build.OutputTar, Dest: "-"}}}); err != nil {
			t.Fatal(err)
		}
		if h, err := tar.NewReader(&buf).Next(); err != nil || h.Name != "main.txt" {
			t.Errorf("first entry = %+v, %v", h, err)
		}
	})
	t.Run("local cache serves an empty builder", func(t *testing.T) {
		dir := files(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY bin /bin\nRUN date +%s%N > /when\n"})
		r := build.Request{Context: dir, Outputs: []build.Output{{Type: build.OutputOCI, Dest: filepath.Join(out, "c.tar")}},
			CacheTo: []build.Cache{{Type: "local", Attrs: map[string]string{"dest": filepath.Join(out, "cache"), "mode": "max"}}}}
		first, err := b.Build(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		other := build.New(build.Options{Socket: buildtest.Start(t).Socket})
		r.CacheTo = nil
		r.CacheFrom = []build.Cache{{Type: "local", Attrs: map[string]string{"src": filepath.Join(out, "cache")}}}
		second, err := other.Build(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if first.Digest != second.Digest {
			t.Errorf("digest = %s, want %s from the cache", second.Digest, first.Digest)
		}
	})
	t.Run("nothing is left of a failed build's file", func(t *testing.T) {
		empty := t.TempDir()
		bad := files(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY bin /bin\nRUN false\n"})
		if _, err := b.Build(t.Context(), build.Request{Context: bad, Outputs: []build.Output{{Type: build.OutputOCI, Dest: filepath.Join(empty, "x.tar")}}}); err == nil {
			t.Fatal("no error")
		}
		if left, err := os.ReadDir(empty); err != nil || len(left) != 0 {
			t.Errorf("left = %v, %v", left, err)
		}
	})
}

func TestBuildGit(t *testing.T) {
	srv := buildtest.Start(t)
	b := build.New(build.Options{Socket: srv.Socket})
	web, remote := gitServer(t, map[string]string{"app/Dockerfile": "FROM scratch\nCOPY version.txt /\n", "app/version.txt": "one"}, "")
	out := filepath.Join(t.TempDir(), "out")
	r := build.Request{Context: remote + "#main:app", Outputs: []build.Output{{Type: build.OutputLocal, Dest: out}, {Type: build.OutputOCI, Dest: out + ".tar"}}}
	first, err := b.Build(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(out, "version.txt")); err != nil || string(got) != "one" {
		t.Errorf("version = %q, %v", got, err)
	}
	r.NoCache = true
	second, err := b.Build(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if first.Platforms[0].Digest == "" || first.ConfigDigest == "" {
		t.Errorf("result = %+v", first)
	}
	_ = second
	if web.denied() != 0 {
		t.Errorf("%d requests were denied", web.denied())
	}

	t.Run("token", func(t *testing.T) {
		_, private := gitServer(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}, "s3cret")
		r := build.Request{Context: private, Outputs: []build.Output{{Type: build.OutputCacheOnly}}}
		if _, err := b.Build(t.Context(), r); err == nil {
			t.Error("built without the token")
		}
		with := build.New(build.Options{Socket: srv.Socket, GitToken: func(remote string) string {
			if remote == private {
				return "s3cret"
			}
			return ""
		}})
		if _, err := with.Build(t.Context(), r); err != nil {
			t.Error(err)
		}
	})
	t.Run("no such branch", func(t *testing.T) {
		_, err := b.Build(t.Context(), build.Request{Context: remote + "#nobody", Outputs: r.Outputs})
		var p *problem.Error
		if !errors.As(err, &p) || p.Hint == "" || !strings.Contains(err.Error(), "nobody") {
			t.Errorf("err = %v", err)
		}
	})
	t.Run("a link out of the repository", func(t *testing.T) {
		_, remote := gitServer(t, map[string]string{"out -> /etc": ""}, "")
		if _, err := b.Build(t.Context(), build.Request{Context: remote + "#main:out", Outputs: r.Outputs}); !errors.Is(err, problem.ErrNotFound) {
			t.Errorf("err = %v", err)
		}
	})
}

func TestBuildIsCancelled(t *testing.T) {
	srv := buildtest.Start(t)
	dir := files(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY bin /bin\nRUN echo step-is-running; sleep 987.25\n"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	running := make(chan struct{})
	var once sync.Once
	p := &transcript{onLog: func(s string) {
		if strings.Contains(s, "step-is-running") {
			once.Do(func() { close(running) })
		}
	}}
	done := make(chan error, 1)
	go func() {
		_, err := build.New(build.Options{Socket: srv.Socket}).Build(ctx, build.Request{Context: dir, Outputs: []build.Output{{Type: build.OutputCacheOnly}}, Progress: p.update})
		done <- err
	}()
	select {
	case <-running:
	case err := <-done:
		t.Fatalf("ended early: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("the step did not start")
	}
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("err = %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the build did not end")
	}
	eventually(t, "the step's process is gone", func() bool { return !processRuns("sleep\x00987.25") })
}

func TestBuilderIsKilledAndComesBack(t *testing.T) {
	srv := buildtest.Start(t)
	dir := files(t, map[string]string{"Dockerfile": "FROM scratch AS first\nCOPY bin /bin\nRUN date +%s%N > /when\n\nFROM first\nRUN echo second-step; sleep 3.125; echo done > /done\n"})
	n := &node{}
	p := &transcript{}
	running := make(chan struct{}, 16)
	p.onLog = func(s string) {
		if strings.Contains(s, "second-step") {
			running <- struct{}{}
		}
	}
	type outcome struct {
		res build.Result
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		res, err := build.New(build.Options{Socket: srv.Socket, Importer: n, Wait: 30 * time.Second}).Build(t.Context(),
			build.Request{Context: dir, Tags: []string{"x:1"}, Outputs: []build.Output{{Type: build.OutputNode}}, Progress: p.update})
		done <- outcome{res, err}
	}()
	select {
	case <-running:
	case o := <-done:
		t.Fatalf("ended early: %v", o.err)
	case <-time.After(30 * time.Second):
		t.Fatal("the step did not start")
	}
	srv.Kill(t)
	srv.Run(t)
	if processRuns("sleep\x003.125") {
		select {
		case <-running: // the second attempt is already there
		default:
			t.Error("the step of the killed builder is still running after the restart")
		}
	}
	o := <-done
	if o.err != nil {
		t.Fatal(o.err)
	}
	if o.res.Attempts != 2 || len(p.notices) == 0 || !strings.Contains(p.notices[0], "went away") {
		t.Errorf("attempts = %d, notices = %q", o.res.Attempts, p.notices)
	}
	if names := slices.Collect(maps.Keys(n.images)); !slices.Equal(names, []string{"docker.io/library/x:1"}) {
		t.Errorf("images = %q", names)
	}
	if i := n.index(t, "docker.io/library/x:1"); i.Manifests[0].Digest.String() != o.res.Digest {
		t.Errorf("index = %+v", i)
	}
	p.mu.Lock()
	for name, s := range p.steps {
		if strings.Contains(name, "first 2/2") && !s.Cached {
			t.Errorf("step %q was done again although it was in the cache", name)
		}
	}
	p.mu.Unlock()
	srv.Stop(t)
	if left := srv.Left(t); len(left) > 0 {
		t.Errorf("left after the stop:\n%s", strings.Join(left, "\n"))
	}
}

func TestBuilderStaysAway(t *testing.T) {
	_, err := build.New(build.Options{Socket: filepath.Join(t.TempDir(), "none.sock"), Wait: 50 * time.Millisecond}).Build(t.Context(),
		build.Request{Context: files(t, map[string]string{"Dockerfile": "FROM scratch\n"}), Outputs: []build.Output{{Type: build.OutputCacheOnly}}})
	var p *problem.Error
	if !errors.Is(err, problem.ErrTimeout) || !errors.As(err, &p) || !strings.Contains(p.Hint, "penstock up") {
		t.Errorf("err = %v, hint of %+v", err, p)
	}
}

func TestImportFails(t *testing.T) {
	srv := buildtest.Start(t)
	dir := files(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY bin /bin\n"})
	for _, tags := range [][]string{{"a:1"}, {"a:1", "b:1"}} {
		t.Run(fmt.Sprint(len(tags)), func(t *testing.T) {
			_, err := build.New(build.Options{Socket: srv.Socket, Importer: full{}}).Build(t.Context(), build.Request{Context: dir, Tags: tags, Outputs: []build.Output{{Type: build.OutputNode}}})
			if err == nil || !strings.Contains(err.Error(), "no space left") || !errors.Is(err, errFull) {
				t.Errorf("err = %v", err)
			}
		})
	}
}

var errFull = errors.New("no space left")

type full struct{}

func (full) ImportImage(_ context.Context, _ string, r io.Reader) error {
	if _, err := io.CopyN(io.Discard, r, 100); err != nil {
		return err
	}
	return errFull
}

// processRuns says whether a process has args, NUL between them, in its
// command line.
func processRuns(args string) bool {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return false
	}
	for _, l := range lines {
		if b, err := os.ReadFile(l); err == nil && strings.Contains(string(b), args) {
			return true
		}
	}
	return false
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Errorf("not after 15 s: %s", what)
}
