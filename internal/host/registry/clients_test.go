package registry_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/penstock-dev/penstock/internal/host/registry"
	"github.com/penstock-dev/penstock/internal/host/registry/storage"
)

func (w *world) ref(text string) name.Reference {
	w.t.Helper()
	r, err := name.ParseReference(strings.TrimPrefix(w.url, "http://") + "/" + text)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// client are the options of go-containerregistry for one user.
func (w *world) client() []remote.Option {
	return []remote.Option{remote.WithAuth(&authn.Basic{Username: "anybody", Password: w.token})}
}

// TestConformanceGoContainerRegistry does what the library and crane do.
func TestConformanceGoContainerRegistry(t *testing.T) {
	w := start(t)
	opts := w.client()
	img, err := random.Image(200_000, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(w.ref("demo/shop:1"), img, opts...); err != nil {
		t.Fatal(err)
	}
	got, err := remote.Image(w.ref("demo/shop:1"), opts...)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(got); err != nil {
		t.Error(err)
	}
	idx, err := random.Index(50_000, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(w.ref("demo/shop:all"), idx, opts...); err != nil {
		t.Fatal(err)
	}
	back, err := remote.Index(w.ref("demo/shop:all"), opts...)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(back); err != nil {
		t.Error(err)
	}
	// The library mounts what it pulled from another repository.
	if err := remote.Write(w.ref("demo/copy:1"), got, opts...); err != nil {
		t.Fatal(err)
	}
	tags, err := remote.List(w.ref("demo/shop:1").Context(), append(opts, remote.WithPageSize(1))...)
	if err != nil || !slices.Equal(tags, []string{"1", "all"}) {
		t.Errorf("tags %v, %v", tags, err)
	}
	// A signature refers to the image.
	top, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	size, err := img.Size()
	if err != nil {
		t.Fatal(err)
	}
	referrer, ok := mutate.Subject(mutate.ConfigMediaType(mutate.MediaType(img, types.OCIManifestSchema1), "application/vnd.example.signature"),
		v1.Descriptor{MediaType: types.DockerManifestSchema2, Digest: top, Size: size}).(v1.Image)
	if !ok {
		t.Fatal("no image")
	}
	if err := remote.Write(w.ref("demo/shop:signature"), referrer, opts...); err != nil {
		t.Fatal(err)
	}
	subject, err := name.NewDigest(w.ref("demo/shop:1").Context().Name() + "@" + top.String())
	if err != nil {
		t.Fatal(err)
	}
	list, err := remote.Referrers(subject, append(opts, remote.WithFilter("artifactType", "application/vnd.example.signature"))...)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := list.IndexManifest(); err != nil || len(m.Manifests) != 1 {
		t.Errorf("referrers %+v, %v", m, err)
	}
	if err := remote.Delete(subject, opts...); err != nil {
		t.Error(err)
	}
	if _, err := remote.Head(w.ref("demo/shop:1"), opts...); err == nil {
		t.Error("the tag of a deleted manifest resolves")
	}
	if err := validate.Image(mustImage(t, w, "demo/copy:1")); err != nil {
		t.Error(err)
	}
	if err := remote.Write(w.ref("other/x:1"), img, remote.WithAuth(authn.Anonymous)); err == nil {
		t.Error("pushed without a token")
	}
}

func mustImage(t *testing.T, w *world, ref string) v1.Image {
	t.Helper()
	img, err := remote.Image(w.ref(ref), w.client()...)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// tool is a program of Debian's that speaks to a registry, with a home of its
// own.
type tool struct {
	t            *testing.T
	program, dir string
	flags        []string // of every call
}

func newTool(t *testing.T, program string) *tool {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("needs %s: apt-get install %[1]s", program)
	}
	tl := &tool{t: t, program: path, dir: t.TempDir()}
	if err := os.WriteFile(filepath.Join(tl.dir, "policy.json"), []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	return tl
}

func (tl *tool) run(args ...string) string {
	tl.t.Helper()
	ctx, cancel := context.WithTimeout(tl.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, tl.program, append(slices.Clone(tl.flags), args...)...)
	cmd.Dir = tl.dir
	cmd.Env = append(os.Environ(), "HOME="+tl.dir, "XDG_RUNTIME_DIR="+tl.dir, "REGISTRY_AUTH_FILE="+filepath.Join(tl.dir, "auth.json"))
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		tl.t.Fatalf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, out, said.String())
	}
	return string(out)
}

// TestConformanceSkopeo copies images with Debian's skopeo.
func TestConformanceSkopeo(t *testing.T) {
	w := start(t)
	skopeo := newTool(t, "skopeo")
	skopeo.flags = []string{"--policy", filepath.Join(skopeo.dir, "policy.json")}
	run, dir := skopeo.run, skopeo.dir
	host := strings.TrimPrefix(w.url, "http://")
	img, err := random.Image(100_000, 2)
	if err != nil {
		t.Fatal(err)
	}
	single, err := layout.Write(filepath.Join(dir, "single"), empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := single.AppendImage(mutate.ConfigMediaType(mutate.MediaType(img, types.OCIManifestSchema1), types.OCIConfigJSON)); err != nil {
		t.Fatal(err)
	}
	run("login", "--tls-verify=false", "--username", "anybody", "--password", "all", host)
	run("copy", "--dest-tls-verify=false", "oci:"+filepath.Join(dir, "single"), "docker://"+host+"/demo/shop:1")
	run("copy", "--src-tls-verify=false", "--dest-tls-verify=false", "docker://"+host+"/demo/shop:1", "docker://"+host+"/demo/copy:1")
	run("copy", "--src-tls-verify=false", "--dest-tls-verify=false", "docker://"+host+"/demo/shop:1", "docker://"+host+"/demo/copy:second")
	run("copy", "--src-tls-verify=false", "docker://"+host+"/demo/copy:1", "oci:"+filepath.Join(dir, "out")+":1")
	var seen struct {
		Digest   string
		RepoTags []string
	}
	if err := json.Unmarshal([]byte(run("inspect", "--tls-verify=false", "docker://"+host+"/demo/copy:1")), &seen); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(seen.RepoTags, []string{"1", "second"}) {
		t.Errorf("inspect: %+v", seen)
	}
	if err := validate.Image(mustImage(t, w, "demo/copy:second")); err != nil {
		t.Error(err)
	}
	if d, err := mustImage(t, w, "demo/shop:1").Digest(); err != nil || d.String() != seen.Digest {
		t.Errorf("the copy is %s, the image %s, %v", seen.Digest, d, err)
	}
	var listed struct{ Tags []string }
	if err := json.Unmarshal([]byte(run("list-tags", "--tls-verify=false", "docker://"+host+"/demo/copy")), &listed); err != nil || len(listed.Tags) != 2 {
		t.Errorf("list-tags: %+v, %v", listed, err)
	}
	run("delete", "--tls-verify=false", "docker://"+host+"/demo/copy:second")
	run("logout", host)
}

// TestConformanceContainers builds with Debian's buildah, and pulls, tags and
// pushes with its podman. Both keep images as plain files, which works on
// every kernel, and no container is run.
func TestConformanceContainers(t *testing.T) {
	if os.Getenv("PENSTOCK_CONFORMANCE") == "" {
		t.Skip("part of make conformance: buildah and podman are not installed for the other tests")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: buildah and podman would want a user namespace")
	}
	for _, program := range []string{"buildah", "podman"} {
		t.Run(program, func(t *testing.T) {
			w := start(t)
			tl := newTool(t, program)
			runroot, err := os.MkdirTemp("/tmp", "penstock-") // podman takes 50 characters
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(runroot) })
			tl.flags = []string{"--root", filepath.Join(tl.dir, "root"), "--runroot", runroot, "--storage-driver", "vfs"}
			host := strings.TrimPrefix(w.url, "http://")
			policy := "--signature-policy=" + filepath.Join(tl.dir, "policy.json")
			img, err := random.Image(50_000, 2)
			if err != nil {
				t.Fatal(err)
			}
			if err := remote.Write(w.ref("demo/base:1"), img, w.client()...); err != nil {
				t.Fatal(err)
			}
			tl.run("login", "--tls-verify=false", "--username", "anybody", "--password", "all", host)
			tl.run("pull", "--tls-verify=false", policy, host+"/demo/base:1")
			tl.run("tag", host+"/demo/base:1", host+"/demo/copy:1")
			tl.run("push", "--tls-verify=false", policy, host+"/demo/copy:1")
			if err := validate.Image(mustImage(t, w, "demo/copy:1")); err != nil {
				t.Error(err)
			}
			if program == "buildah" {
				from := strings.TrimSpace(tl.run("from", policy, "scratch"))
				tl.run("copy", from, filepath.Join(tl.dir, "policy.json"), "/policy.json")
				tl.run("commit", policy, "--format", "oci", from, host+"/demo/built:1")
				tl.run("push", "--tls-verify=false", policy, host+"/demo/built:1")
				if err := validate.Image(mustImage(t, w, "demo/built:1")); err != nil {
					t.Error(err)
				}
			}
			tl.run("logout", host)
		})
	}
}

// TestManyClientsAtOnce pushes, pulls, lists and deletes from many goroutines
// while garbage is collected. Under the race detector it shows more.
func TestManyClientsAtOnce(t *testing.T) {
	w := start(t, func(_ *registry.Options, o *storage.Options) { o.Grace = time.Hour })
	layers := make([]v1.Layer, 6) // shared, so that clients meet
	for i := range layers {
		l, err := random.Layer(20_000, types.OCILayer)
		if err != nil {
			t.Fatal(err)
		}
		layers[i] = l
	}
	ctx, stop := context.WithCancel(t.Context())
	var collector, clients sync.WaitGroup
	collector.Go(func() {
		for ctx.Err() == nil {
			if _, err := w.store.Collect(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
		}
	})
	for i := range 8 {
		clients.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for n := range 6 {
				if err := w.pushAndPull(layers, r, fmt.Sprintf("demo/r%d:v%d-%d", i%3, i, n)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	clients.Wait()
	stop()
	collector.Wait()
	for i := range 3 {
		tags, err := remote.List(w.ref(fmt.Sprintf("demo/r%d:x", i)).Context(), w.client()...)
		if err != nil {
			t.Fatal(err)
		}
		for _, tag := range tags {
			if err := validate.Image(mustImage(t, w, fmt.Sprintf("demo/r%d:%s", i, tag))); err != nil {
				t.Errorf("%s: %v", tag, err)
			}
		}
	}
}

// pushAndPull is one client's turn; every third image is deleted again.
func (w *world) pushAndPull(layers []v1.Layer, r *rand.Rand, ref string) error {
	img, err := random.Image(5_000, 1)
	if err != nil {
		return err
	}
	if img, err = mutate.AppendLayers(img, layers[r.IntN(len(layers))], layers[r.IntN(len(layers))]); err != nil {
		return err
	}
	if err := remote.Write(w.ref(ref), img, w.client()...); err != nil {
		return fmt.Errorf("push %s: %w", ref, err)
	}
	got, err := remote.Image(w.ref(ref), w.client()...)
	if err != nil {
		return fmt.Errorf("pull %s: %w", ref, err)
	}
	if err := validate.Image(got); err != nil {
		return fmt.Errorf("%s: %w", ref, err)
	}
	if r.IntN(3) > 0 {
		return nil
	}
	d, err := got.Digest()
	if err != nil {
		return err
	}
	return remote.Delete(w.ref(ref).Context().Digest(d.String()), w.client()...)
}
