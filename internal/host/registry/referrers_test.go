package registry_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Pushing manifests with subject, and listing referrers, end-12a and end-12b.
func specReferrers(t *testing.T) {
	w := start(t)
	get := func(d digest.Digest, query string) (ocispec.Index, answer) {
		t.Helper()
		a := w.want(w.do("GET", "/v2/demo/shop/referrers/"+d.String()+query, nil), 200)
		w.wantHeader(a, "Content-Type", ocispec.MediaTypeImageIndex)
		var idx ocispec.Index
		if err := json.Unmarshal(a.body, &idx); err != nil || idx.SchemaVersion != 2 || idx.MediaType != ocispec.MediaTypeImageIndex || idx.Manifests == nil {
			t.Fatalf("%s", a.body)
		}
		return idx, a
	}
	// Of a repository or a subject that is not there: an empty list, never 404.
	subject := digest.FromBytes([]byte("a subject that comes later"))
	if idx, _ := get(subject, ""); len(idx.Manifests) != 0 {
		t.Errorf("%+v", idx)
	}
	push := func(name, configType, artifactType string, annotations map[string]string) ocispec.Descriptor {
		t.Helper()
		data := w.image("demo/shop", name, func(m *ocispec.Manifest) {
			m.Subject = &ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: subject, Size: 5}
			m.Config.MediaType, m.ArtifactType, m.Annotations = configType, artifactType, annotations
		})
		a := w.want(w.do("PUT", "/v2/demo/shop/manifests/"+digest.FromBytes(data).String(), data, "Content-Type", ocispec.MediaTypeImageManifest), 201)
		w.wantHeader(a, "OCI-Subject", subject.String())
		want := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(data), Size: int64(len(data)), ArtifactType: artifactType, Annotations: annotations}
		if artifactType == "" {
			want.ArtifactType = configType
		}
		return want
	}
	sbom := push("sbom", "a/config", "application/vnd.example.sbom", map[string]string{"format": "json"})
	signature := push("signature", "application/vnd.example.signature", "", nil)
	// An index may be a referrer; without artifactType, its descriptor has none.
	idx := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}, Subject: &ocispec.Descriptor{MediaType: "a/b", Digest: subject, Size: 5}, Annotations: map[string]string{"a": "b"}}
	idx.SchemaVersion = 2
	index := w.pushManifest("demo/shop", "index", marshal(t, idx))
	index.Annotations = idx.Annotations

	byDigest := func(list ...ocispec.Descriptor) map[digest.Digest]ocispec.Descriptor {
		m := map[digest.Digest]ocispec.Descriptor{}
		for _, d := range list {
			m[d.Digest] = d
		}
		return m
	}
	got, a := get(subject, "")
	if diff := cmp.Diff(byDigest(sbom, signature, index), byDigest(got.Manifests...)); diff != "" {
		t.Errorf("referrers (-want +got):\n%s", diff)
	}
	w.wantHeader(a, "OCI-Filters-Applied", "")
	for artifactType, want := range map[string]map[digest.Digest]ocispec.Descriptor{
		"application/vnd.example.sbom":      byDigest(sbom),
		"application/vnd.example.signature": byDigest(signature),
		"application/vnd.example.nothing":   byDigest(),
	} {
		got, a := get(subject, "?artifactType="+artifactType)
		if diff := cmp.Diff(want, byDigest(got.Manifests...)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", artifactType, diff)
		}
		w.wantHeader(a, "OCI-Filters-Applied", "artifactType")
	}
	// Pushing again does not double, deleting removes.
	push("sbom", "a/config", "application/vnd.example.sbom", map[string]string{"format": "json"})
	w.want(w.do("DELETE", "/v2/demo/shop/manifests/"+signature.Digest.String(), nil), 202)
	got, _ = get(subject, "")
	if diff := cmp.Diff(byDigest(sbom, index), byDigest(got.Manifests...)); diff != "" || len(got.Manifests) != 2 {
		t.Errorf("after deleting one (-want +got):\n%s", diff)
	}
	w.want(w.do("GET", "/v2/demo/shop/referrers/nonsense", nil), 400, "DIGEST_INVALID")
	w.want(w.do("GET", "/v2/demo/shop/referrers/sha256:12", nil), 400, "DIGEST_INVALID")
	if idx, _ := get(never, ""); len(idx.Manifests) != 0 {
		t.Errorf("%+v", idx)
	}
}

// Listing referrers: what does not fit in one manifest has links.
func specManyReferrers(t *testing.T) {
	w := start(t)
	subject := digest.FromString("subject")
	config := w.pushBlob("demo/shop", []byte("{}"))
	text := strings.Repeat("x", 1<<20)
	want := map[digest.Digest]bool{}
	for i := range 8 {
		m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: config, ArtifactType: "a/b", Subject: &ocispec.Descriptor{MediaType: "a/b", Digest: subject}}
		m.SchemaVersion, m.Annotations = 2, map[string]string{"text": text, "i": fmt.Sprint(i)}
		want[w.pushManifest("demo/shop", fmt.Sprint("r", i), marshal(t, m)).Digest] = true
	}
	path, pages := "/v2/demo/shop/referrers/"+subject.String()+"?artifactType=a/b", 0
	for path != "" {
		a := w.want(w.do("GET", path, nil), 200)
		w.wantHeader(a, "OCI-Filters-Applied", "artifactType")
		if len(a.body) > 4<<20 {
			t.Errorf("a page of %d bytes", len(a.body))
		}
		var idx ocispec.Index
		if err := json.Unmarshal(a.body, &idx); err != nil {
			t.Fatal(err)
		}
		for _, d := range idx.Manifests {
			if !want[d.Digest] {
				t.Errorf("%s is not expected, or not twice", d.Digest)
			}
			delete(want, d.Digest)
		}
		target, _, ok := strings.Cut(a.Header.Get("Link"), ">; rel=\"next\"")
		if path = ""; ok {
			path = target[1:]
		}
		pages++
	}
	if len(want) != 0 || pages < 3 {
		t.Errorf("%d pages, without %v", pages, want)
	}
}
