//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// pushed pushes an image until the registry has it.
func (d *dying) pushed(t *testing.T, ref string, img v1.Image) {
	t.Helper()
	Eventually(t, 2*time.Minute, "push of "+ref, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		return remote.Write(d.image(t, ref), img, append(d.registry(t), remote.WithContext(ctx))...)
	})
}

// whole reads an image back, every byte of it.
func (d *dying) whole(t *testing.T, ref string, want v1.Image) {
	t.Helper()
	digest, err := want.Digest()
	if err != nil {
		t.Fatal(err)
	}
	back, err := remote.Image(d.image(t, ref), d.registry(t)...)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(back); err != nil {
		t.Error(err)
	}
	if got, err := back.Digest(); err != nil || got != digest {
		t.Errorf("%s is %s, %v; pushed was %s", ref, got, err, digest)
	}
}

// newImage is an image that no registry has.
func (d *dying) newImage(t *testing.T) (repo string, img v1.Image, digest string) {
	t.Helper()
	img, err := random.Image(64<<10, 2)
	if err != nil {
		t.Fatal(err)
	}
	h, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("faults/image-%d", d.n), img, h.String()
}

// tags are those of a repository; twice is as bad as never.
func (d *dying) tags(t *testing.T, repo string) string {
	t.Helper()
	list, err := remote.List(d.image(t, repo+":1").Context(), d.registry(t)...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(list, " ")
}

func (d *dying) pushImage(t *testing.T, _ string) (do, check func(*testing.T)) {
	repo, img, _ := d.newImage(t)
	return func(t *testing.T) { d.pushed(t, repo+":1", img) }, func(t *testing.T) {
		d.whole(t, repo+":1", img)
		if tags := d.tags(t, repo); tags != "1" {
			t.Errorf("tags %q", tags)
		}
	}
}

func (d *dying) pushReferrer(t *testing.T, _ string) (do, check func(*testing.T)) {
	repo, img, digest := d.newImage(t)
	d.pushed(t, repo+":1", img)
	subject, err := partial.Descriptor(img)
	if err != nil {
		t.Fatal(err)
	}
	_, other, _ := d.newImage(t)
	other, ok := mutate.Subject(mutate.MediaType(other, "application/vnd.oci.image.manifest.v1+json"), *subject).(v1.Image)
	if !ok {
		t.Fatal("an image with a subject is no image")
	}
	return func(t *testing.T) { d.pushed(t, repo+":about", other) }, func(t *testing.T) {
		d.whole(t, repo+":1", img)
		d.whole(t, repo+":about", other)
		idx, err := remote.Referrers(d.image(t, repo+":1").Context().Digest(digest), d.registry(t)...)
		if err != nil {
			t.Fatal(err)
		}
		m, err := idx.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Manifests) != 1 {
			t.Errorf("%d referrers, want 1", len(m.Manifests))
		}
	}
}

func (d *dying) deleteTag(t *testing.T, _ string) (do, check func(*testing.T)) {
	repo, img, digest := d.newImage(t)
	d.pushed(t, repo+":1", img)
	d.pushed(t, repo+":2", img)
	return func(t *testing.T) {
			d.ask(t, http.MethodDelete, "/v2/"+repo+"/manifests/1", nil, problem.ErrNotFound)
		}, func(t *testing.T) {
			if tags := d.tags(t, repo); tags != "2" {
				t.Errorf("tags %q", tags)
			}
			d.whole(t, repo+"@"+digest, img)
		}
}

func (d *dying) deleteManifest(t *testing.T, _ string) (do, check func(*testing.T)) {
	repo, img, digest := d.newImage(t)
	d.pushed(t, repo+":1", img)
	return func(t *testing.T) {
			d.ask(t, http.MethodDelete, "/v2/"+repo+"/manifests/"+digest, nil, problem.ErrNotFound)
		}, func(t *testing.T) {
			for _, ref := range []string{":1", "@" + digest} {
				if _, err := remote.Head(d.image(t, repo+ref), d.registry(t)...); err == nil {
					t.Errorf("%s is still there", repo+ref)
				}
			}
			d.pushed(t, repo+":1", img)
			d.whole(t, repo+":1", img)
		}
}

func (d *dying) deleteBlob(t *testing.T, _ string) (do, check func(*testing.T)) {
	repo, img, digest := d.newImage(t)
	d.pushed(t, repo+":1", img)
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	layer, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	d.ask(t, http.MethodDelete, "/v2/"+repo+"/manifests/"+digest, nil, problem.ErrNotFound)
	path := "/v2/" + repo + "/blobs/" + layer.String()
	return func(t *testing.T) { d.ask(t, http.MethodDelete, path, nil, problem.ErrNotFound) }, func(t *testing.T) {
		err := d.client(t).Do(t.Context(), http.MethodGet, path, nil, nil)
		if err == nil {
			t.Error("the blob is still there")
		}
		d.pushed(t, repo+":1", img)
		d.whole(t, repo+":1", img)
	}
}
