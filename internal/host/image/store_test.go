//go:build linux

package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/image/unpack"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("layers keep their owners, which needs root")
	}
}

func newStore(t *testing.T, change ...func(*Sources)) *Store {
	t.Helper()
	needRoot(t)
	src := &Sources{}
	for _, c := range change {
		c(src)
	}
	s, err := NewStore(t.TempDir(), src, unpack.Limits{Bytes: 1 << 20, Entries: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// layerOf makes a layer; names that end in a slash are directories, with what
// follows as their mode.
func layerOf(t *testing.T, files map[string]string) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, n := range slices.Sorted(maps.Keys(files)) { // the same each time
		content := files[n]
		h := &tar.Header{Name: n, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))}
		if strings.HasSuffix(n, "/") {
			*h = tar.Header{Name: n, Typeflag: tar.TypeDir}
			if _, err := fmt.Sscanf(content, "%o %d", &h.Mode, &h.Uid); err != nil {
				t.Fatal(err)
			}
			content = ""
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func imageOf(t *testing.T, layers ...map[string]string) v1.Image {
	t.Helper()
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: new(Sources).platform().Architecture, Config: v1.Config{Cmd: []string{"sh"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, files := range layers {
		if img, err = mutate.AppendLayers(img, layerOf(t, files)); err != nil {
			t.Fatal(err)
		}
	}
	return img
}

// server is a registry that counts what is asked of it and can be down.
type server struct {
	*httptest.Server
	blobs, manifests atomic.Int64
	down             atomic.Bool
	lastNS, lastAuth atomic.Value
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{}
	next := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.down.Load() {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		if ns := r.URL.Query().Get("ns"); ns != "" {
			s.lastNS.Store(ns)
		}
		s.lastAuth.Store(r.Header.Get("Authorization"))
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			s.blobs.Add(1)
		}
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/manifests/") {
			s.manifests.Add(1)
		}
		next.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) host() string { return strings.TrimPrefix(s.URL, "http://") }

func (s *server) push(t *testing.T, repo string, img v1.Image) string {
	t.Helper()
	ref, err := name.ParseReference(s.host() + "/" + repo)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	return ref.Name()
}

func get(t *testing.T, s *Store, ref string) *Image {
	t.Helper()
	img, err := s.Get(t.Context(), ref, Credentials{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { img.Release() })
	return img
}

// files reads the image as an overlay would show it, without whiteouts.
func files(t *testing.T, img *Image) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, dir := range img.Layers {
		err := filepath.Walk(dir, func(p string, fi os.FileInfo, err error) error {
			if err != nil || !fi.Mode().IsRegular() {
				return err
			}
			n := strings.TrimPrefix(p, dir)
			if _, ok := out[n]; !ok {
				data, err := os.ReadFile(p)
				out[n] = string(data)
				return err
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestGet(t *testing.T) {
	reg := newServer(t)
	s := newStore(t)
	base := map[string]string{"a": "1", "b": "1"}
	ref := reg.push(t, "team/app:main", imageOf(t, base, map[string]string{"b": "2"}))
	img := get(t, s, ref)
	if d := cmp.Diff(map[string]string{"/a": "1", "/b": "2"}, files(t, img)); d != "" {
		t.Error(d)
	}
	if img.Config.Config.Cmd[0] != "sh" || !strings.HasPrefix(img.Digest, "sha256:") {
		t.Errorf("%+v", img)
	}
	fetched := reg.blobs.Load()

	t.Run("again, nothing is fetched", func(t *testing.T) {
		asked := reg.manifests.Load()
		get(t, s, ref)
		if reg.blobs.Load() != fetched || reg.manifests.Load() != asked {
			t.Errorf("%d blobs and %d manifests were fetched", reg.blobs.Load()-fetched, reg.manifests.Load()-asked)
		}
	})
	t.Run("the tag moves", func(t *testing.T) {
		reg.push(t, "team/app:main", imageOf(t, base, map[string]string{"b": "3"}))
		if got := files(t, get(t, s, ref))["/b"]; got != "3" {
			t.Errorf("got %q", got)
		}
		if n := reg.blobs.Load() - fetched; n != 2 { // configuration and one layer; the other is here
			t.Errorf("%d blobs were fetched, want 2", n)
		}
	})
	t.Run("offline", func(t *testing.T) {
		reg.down.Store(true)
		defer reg.down.Store(false)
		if got := files(t, get(t, s, ref))["/b"]; got != "3" {
			t.Errorf("got %q", got)
		}
		if _, err := s.Get(t.Context(), reg.host()+"/team/other:main", Credentials{}); err == nil {
			t.Error("an image that was never here is there")
		}
	})
	t.Run("by digest", func(t *testing.T) {
		byDigest := reg.host() + "/team/app@" + img.Digest
		if got := files(t, get(t, s, byDigest))["/b"]; got != "2" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("gone", func(t *testing.T) {
		_, err := s.Get(t.Context(), reg.host()+"/team/app:nope", Credentials{})
		var p *problem.Error
		if !errors.Is(err, problem.ErrNotFound) || !errors.As(err, &p) || p.Hint == "" {
			t.Errorf("got %v", err)
		}
	})
}

func TestFiles(t *testing.T) {
	s := newStore(t)
	dir := t.TempDir()
	one, two := imageOf(t, map[string]string{"n": "one"}), imageOf(t, map[string]string{"n": "two"})
	l, err := layout.Write(filepath.Join(dir, "layout"), empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	for n, img := range map[string]v1.Image{"one": one, "registry.example/two:1": two} {
		if err := l.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": n})); err != nil {
			t.Fatal(err)
		}
	}
	tag, err := name.NewTag("example/one:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(filepath.Join(dir, "one.tar"), tag, one); err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{
		"oci:" + dir + "/layout:one":                       "one",
		"oci:" + dir + "/layout:registry.example/two:1":    "two",
		"docker-archive:" + dir + "/one.tar":               "one",
		"docker-archive:" + dir + "/one.tar:example/one:1": "one",
	} {
		if got := files(t, get(t, s, ref))["/n"]; got != want {
			t.Errorf("%s: %q, want %q", ref, got, want)
		}
	}
	for _, ref := range []string{"oci:" + dir + "/layout", "oci:" + dir + "/layout:three", "oci:" + dir, "docker-archive:" + dir + "/two.tar", "docker-archive:" + dir + "/one.tar:other:1", "UPPER", "a b", ""} {
		_, err := s.Get(t.Context(), ref, Credentials{})
		var p *problem.Error
		if !errors.As(err, &p) || p.Hint == "" {
			t.Errorf("%q: %v", ref, err)
		}
	}
}

func TestMirror(t *testing.T) {
	mirror, origin := newServer(t), newServer(t)
	s := newStore(t, func(s *Sources) { s.Mirrors = []Mirror{{URL: mirror.URL, Token: "of-the-node"}} })
	mirror.push(t, "library/tool:1", imageOf(t, map[string]string{"n": "from the mirror"}))
	if got := files(t, get(t, s, "tool:1"))["/n"]; got != "from the mirror" || mirror.lastNS.Load() != "docker.io" {
		t.Errorf("got %q for %v", got, mirror.lastNS.Load())
	}
	ref := origin.push(t, "team/only:1", imageOf(t, map[string]string{"n": "from its registry"}))
	if got := files(t, get(t, s, ref))["/n"]; got != "from its registry" || mirror.lastNS.Load() != origin.host() {
		t.Errorf("got %q after %v", got, mirror.lastNS.Load())
	}
	if mirror.lastAuth.Load() != "Bearer of-the-node" || origin.lastAuth.Load() != "" {
		t.Errorf("the mirror got %q, the registry %q", mirror.lastAuth.Load(), origin.lastAuth.Load())
	}
	own := mirror.push(t, "team/own:1", imageOf(t, map[string]string{"n": "own"}))
	if got := files(t, get(t, s, own))["/n"]; got != "own" {
		t.Errorf("got %q", got)
	}
}

// lying is an image whose layer is not what its configuration says.
type lying struct{ v1.Image }

func (l lying) ConfigFile() (*v1.ConfigFile, error) {
	c, err := l.Image.ConfigFile()
	if err != nil {
		return nil, err
	}
	c = c.DeepCopy()
	c.RootFS.DiffIDs[0] = v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}
	return c, nil
}

func TestRefusedImages(t *testing.T) {
	s := newStore(t)
	other, err := mutate.ConfigFile(imageOf(t, map[string]string{"a": "1"}), &v1.ConfigFile{OS: "linux", Architecture: "s390x"})
	if err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("x", 600<<10)
	for what, img := range map[string]v1.Image{
		"another platform":            other,
		"another content than stated": lying{imageOf(t, map[string]string{"a": "1"})},
		"large together":              imageOf(t, map[string]string{"a": big}, map[string]string{"b": big}),
		"no layers":                   imageOf(t),
	} {
		h, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.add(t.Context(), h, img); !errors.Is(err, problem.ErrInvalid) {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
	left, err := filepath.Glob(filepath.Join(s.dir, "layers", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range left {
		if b := filepath.Base(l); strings.HasPrefix(b, tmpPrefix) || strings.HasSuffix(b, ".lock") || strings.HasPrefix(b, "000") {
			t.Errorf("%s is left", b)
		}
	}
}

func TestConcurrentGets(t *testing.T) {
	reg := newServer(t)
	s := newStore(t)
	other, err := NewStore(s.dir, s.sources, s.limits) // as of another process
	if err != nil {
		t.Fatal(err)
	}
	ref := reg.push(t, "a/b:1", imageOf(t, map[string]string{"n": "1"}, map[string]string{"m": "1"}))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			img, err := []*Store{s, other}[i%2].Get(t.Context(), ref, Credentials{})
			if err != nil {
				t.Error(err)
				return
			}
			if len(files(t, img)) != 2 {
				t.Error("not all there")
			}
			if err := img.Release(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := reg.blobs.Load(); n > 8+2 { // each layer once, and the configuration as often as asked
		t.Errorf("%d blobs were fetched", n)
	}
}

func TestPrune(t *testing.T) {
	reg := newServer(t)
	s := newStore(t)
	used := reg.push(t, "a/used:1", imageOf(t, map[string]string{"n": "used"}))
	idle := reg.push(t, "a/idle:1", imageOf(t, map[string]string{"n": "idle"}))
	img := get(t, s, used)
	idleImg := get(t, s, idle)
	if err := idleImg.Release(); err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(s.dir, "layers", tmpPrefix+"1")
	if err := os.MkdirAll(filepath.Join(half, "fs"), 0o700); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes(filepath.Join(half, "fs"), old, old); err != nil {
		t.Fatal(err)
	}
	if freed, err := s.Prune(t.Context(), time.Now().Add(-time.Hour)); freed != 0 || err != nil {
		t.Errorf("%d bytes were freed, %v", freed, err)
	}
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Error("half a layer is left")
	}
	if freed, err := s.Prune(t.Context(), time.Now().Add(time.Hour)); freed != 4 || err != nil {
		t.Errorf("%d bytes were freed, %v, want the 4 of the idle one", freed, err)
	}
	if len(files(t, img)) != 1 {
		t.Error("an image in use is gone")
	}
	// What is gone is fetched again.
	if got := files(t, get(t, s, idle))["/n"]; got != "idle" {
		t.Errorf("got %q", got)
	}
}

func TestDirectoriesThatNobodyNames(t *testing.T) {
	s := newStore(t)
	img := imageOf(t,
		map[string]string{"tmp/": "1777 0", "home/": "755 0", "home/me/": "700 7", "var/": "711 0", "lost/": "700 3"},
		map[string]string{"tmp/a": "1", "home/me/b/c": "1", "new/d": "1", "lost/.wh..wh..opq": "", "lost/x": "1"},
		map[string]string{"tmp/e": "1", "var/": "755 5", "home/me/b/": "750 8"},
	)
	h, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.add(t.Context(), h, img)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Release()
	want := []Dir{
		{Path: "/home", Mode: 0o755}, {Path: "/home/me", Mode: 0o700, UID: 7}, {Path: "/home/me/b", Mode: 0o750, UID: 8},
		{Path: "/lost", Mode: 0o755}, {Path: "/new", Mode: 0o755}, {Path: "/tmp", Mode: 0o777 | os.ModeSticky},
	}
	if d := cmp.Diff(want, got.Dirs); d != "" {
		t.Error(d)
	}
}

func TestSplitPath(t *testing.T) {
	for in, want := range map[string][2]string{
		"/a/b":             {"/a/b", ""},
		"/a/b:n":           {"/a/b", "n"},
		"/a/b:r.example/n": {"/a/b", "r.example/n"},
		"/a/b:r:80/n:1":    {"/a/b", "r:80/n:1"},
		"b:n:1":            {"b", "n:1"},
	} {
		p, r := splitPath(in)
		if p != want[0] || r != want[1] {
			t.Errorf("%s: %q, %q", in, p, r)
		}
	}
}
