package registry_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestConformance goes through the distribution specification, version 1.1.
// Each case is named after its section; the comments give the endpoints by
// their numbers in the specification's table.
func TestConformance(t *testing.T) {
	for _, c := range []struct {
		section, what string
		test          func(t *testing.T)
	}{
		{"determining support", "authentication", specDeterminingSupport},
		{"pull", "manifests", specPullingManifests},
		{"pull", "blobs and ranges", specPullingBlobs},
		{"push monolithically", "post then put", specPostThenPut},
		{"push monolithically", "single post", specSinglePost},
		{"push in chunks", "order and status", specChunks},
		{"push in chunks", "content-range", specContentRange},
		{"push in chunks", "another digest", specChunksWithAnotherDigest},
		{"cancel", "upload", specCancel},
		{"cancel", "upload of another repository", specUploadOfAnotherRepository},
		{"mount", "with and without from", specMount},
		{"push manifests", "by tag and by digest", specPushingManifests},
		{"push manifests", "invalid", specInvalidManifests},
		{"push manifests", "missing content", specMissingContent},
		{"push manifests", "other types and algorithms", specOtherManifests},
		{"push manifests", "size", specManifestSize},
		{"push manifests", "subject and referrers", specReferrers},
		{"content discovery", "tags", specListingTags},
		{"content discovery", "many referrers", specManyReferrers},
		{"content management", "tags and manifests", specDeleting},
		{"content management", "blobs", specDeletingBlobs},
	} {
		t.Run(c.section+"/"+c.what, c.test)
	}
}

const never = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// Determining Support, end-1.
func specDeterminingSupport(t *testing.T) {
	w := start(t)
	w.want(w.do("GET", "/v2/", nil), 200)
	w.want(w.do("HEAD", "/v2/", nil), 200)
	a := w.want(w.as("").do("GET", "/v2/", nil), 401, "UNAUTHORIZED")
	if got := a.Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Basic realm=") {
		t.Errorf("challenge %q", got)
	}
}

// Pulling manifests, end-3.
func specPullingManifests(t *testing.T) {
	w := start(t)
	data := w.image("demo/shop", "pull")
	d := w.pushManifest("demo/shop", "v1", data)
	for _, ref := range []string{"v1", d.Digest.String()} {
		path := "/v2/demo/shop/manifests/" + ref
		a := w.want(w.do("GET", path, nil, "Accept", ocispec.MediaTypeImageManifest), 200)
		if !bytes.Equal(a.body, data) {
			t.Errorf("%s: not the bytes that were pushed: %s", ref, a.body)
		}
		w.wantHeader(a, "Content-Type", ocispec.MediaTypeImageManifest)
		w.wantHeader(a, "Docker-Content-Digest", d.Digest.String())
		a = w.want(w.do("HEAD", path, nil), 200)
		w.wantHeader(a, "Docker-Content-Digest", d.Digest.String())
		w.wantHeader(a, "Content-Length", fmt.Sprint(len(data)))
		if len(a.body) != 0 {
			t.Errorf("HEAD has a body")
		}
		w.want(w.do("GET", path, nil, "If-None-Match", `"`+d.Digest.String()+`"`), 304)
	}
	w.want(w.do("GET", "/v2/demo/shop/manifests/v2", nil), 404, "MANIFEST_UNKNOWN")
	w.want(w.do("HEAD", "/v2/demo/shop/manifests/v2", nil), 404)
	w.want(w.do("GET", "/v2/demo/shop/manifests/"+never, nil), 404, "MANIFEST_UNKNOWN")
	w.want(w.do("GET", "/v2/demo/none/manifests/v1", nil), 404, "MANIFEST_UNKNOWN")
	w.want(w.do("GET", "/v2/demo/none/manifests/"+d.Digest.String(), nil), 404, "MANIFEST_UNKNOWN")
}

// Pulling blobs, end-2, with range requests of RFC 9110.
func specPullingBlobs(t *testing.T) {
	w := start(t)
	data := make([]byte, 300_000)
	_, _ = rand.Read(data)
	d := w.pushBlob("demo/shop", data)
	path := "/v2/demo/shop/blobs/" + d.Digest.String()
	a := w.want(w.do("GET", path, nil), 200)
	if !bytes.Equal(a.body, data) {
		t.Error("not the bytes that were pushed")
	}
	w.wantHeader(a, "Docker-Content-Digest", d.Digest.String())
	w.wantHeader(a, "Accept-Ranges", "bytes")
	a = w.want(w.do("HEAD", path, nil), 200)
	w.wantHeader(a, "Content-Length", "300000")
	w.wantHeader(a, "Docker-Content-Digest", d.Digest.String())
	for header, want := range map[string][]byte{
		"bytes=0-9":              data[:10],
		"bytes=100-199":          data[100:200],
		"bytes=299990-":          data[299_990:],
		"bytes=-7":               data[299_993:],
		"bytes=299999-999999999": data[299_999:],
	} {
		a := w.want(w.do("GET", path, nil, "Range", header), 206)
		if !bytes.Equal(a.body, want) {
			t.Errorf("%s: %d bytes", header, len(a.body))
		}
	}
	w.want(w.do("GET", path, nil, "Range", "bytes=300000-"), 416)
	w.want(w.do("GET", path, nil, "If-None-Match", `"`+d.Digest.String()+`"`), 304)
	w.want(w.do("GET", "/v2/demo/shop/blobs/"+never, nil), 404, "BLOB_UNKNOWN")
	w.want(w.do("HEAD", "/v2/demo/shop/blobs/"+never, nil), 404)
	// A blob belongs to the repositories that it was pushed to.
	w.want(w.do("GET", "/v2/demo/other/blobs/"+d.Digest.String(), nil), 404, "BLOB_UNKNOWN")
}

// Pushing a blob monolithically: POST then PUT, end-4a and end-6.
func specPostThenPut(t *testing.T) {
	w := start(t)
	data := []byte("one piece")
	d := digest.FromBytes(data)
	a := w.want(w.do("POST", "/v2/demo/shop/blobs/uploads/", nil), 202)
	loc := a.Header.Get("Location")
	if loc == "" {
		t.Fatal("no location")
	}
	w.want(w.do("PUT", loc, data), 400, "DIGEST_INVALID") // the digest is missing
	a = w.want(w.do("PUT", loc+"?digest="+d.String(), data, "Content-Type", "application/octet-stream"), 201)
	pull := a.Header.Get("Location")
	if got := w.want(w.do("GET", pull, nil), 200); !bytes.Equal(got.body, data) {
		t.Errorf("pulled %q", got.body)
	}
	w.wantHeader(a, "Docker-Content-Digest", d.String())
	w.want(w.do("PUT", loc+"?digest="+d.String(), data), 404, "BLOB_UPLOAD_UNKNOWN")

	// An empty blob has a digest as well.
	loc = w.do("POST", "/v2/demo/shop/blobs/uploads/", nil).Header.Get("Location")
	w.want(w.do("PUT", loc+"?digest="+never, nil), 201)
	a = w.want(w.do("GET", "/v2/demo/shop/blobs/"+never, nil), 200)
	w.wantHeader(a, "Content-Length", "0")
}

// Pushing a blob monolithically: single POST, end-4b.
func specSinglePost(t *testing.T) {
	w := start(t)
	data := []byte("in the request")
	d := digest.FromBytes(data)
	a := w.want(w.do("POST", "/v2/demo/shop/blobs/uploads/?digest="+d.String(), data), 201)
	w.want(w.do("GET", a.Header.Get("Location"), nil), 200)
	w.want(w.do("POST", "/v2/demo/shop/blobs/uploads/?digest="+d.String(), []byte("something else")), 400, "DIGEST_INVALID")
	w.want(w.do("POST", "/v2/demo/shop/blobs/uploads/?digest=sha256:00", data), 400, "DIGEST_INVALID")
	w.want(w.do("POST", "/v2/demo/shop/blobs/uploads/?digest=md5:d41d8cd98f00b204e9800998ecf8427e", data), 400, "DIGEST_INVALID")
}

// Pushing a blob in chunks, end-4a, end-5, end-6 and end-13.
func specChunks(t *testing.T) {
	w := start(t)
	data := make([]byte, 5000)
	_, _ = rand.Read(data)
	d := digest.FromBytes(data)
	next := w.want(w.do("POST", "/v2/demo/shop/blobs/uploads/", nil, "Content-Length", "0"), 202).Header.Get("Location")
	patch := func(from, to int, content []byte) answer {
		t.Helper()
		return w.do("PATCH", next, content, "Content-Range", fmt.Sprintf("%d-%d", from, to), "Content-Type", "application/octet-stream")
	}
	// The first chunk begins with 0.
	w.want(patch(1000, 1999, data[1000:2000]), 416, "BLOB_UPLOAD_INVALID")
	a := w.want(patch(0, 999, data[:1000]), 202)
	w.wantHeader(a, "Range", "0-999")
	next = a.Header.Get("Location")
	// Out of order: a gap, a repetition, an overlap.
	for _, c := range [][2]int{{2000, 2999}, {0, 999}, {500, 1499}} {
		a = w.want(patch(c[0], c[1], data[c[0]:c[1]+1]), 416, "BLOB_UPLOAD_INVALID")
		w.wantHeader(a, "Range", "0-999")
		w.wantHeader(a, "Location", next)
	}
	a = w.want(w.do("GET", next, nil), 204)
	w.wantHeader(a, "Range", "0-999")
	next = a.Header.Get("Location")
	a = w.want(patch(1000, 1999, data[1000:2000]), 202)
	w.wantHeader(a, "Range", "0-1999")
	// Without a range, as Docker sends it: whatever comes next.
	a = w.want(w.do("PATCH", next, data[2000:3000]), 202)
	w.wantHeader(a, "Range", "0-2999")
	// The same without a length.
	a = w.want(w.do("PATCH", next, struct{ *bytes.Reader }{bytes.NewReader(data[3000:4000])}), 202)
	w.wantHeader(a, "Range", "0-3999")
	// The last chunk comes with the PUT.
	w.want(w.do("PUT", next+"?digest="+d.String(), data[4000:], "Content-Range", "4100-5099"), 416)
	a = w.want(w.do("PUT", next+"?digest="+d.String(), data[4000:], "Content-Range", "4000-4999"), 201)
	if got := w.want(w.do("GET", a.Header.Get("Location"), nil), 200); !bytes.Equal(got.body, data) {
		t.Error("not the bytes that were pushed")
	}
}

// Pushing a blob in chunks: the form of Content-Range, and what contradicts it.
func specContentRange(t *testing.T) {
	w := start(t)
	next := w.want(w.do("POST", "/v2/demo/shop/blobs/uploads/", nil), 202).Header.Get("Location")
	for _, bad := range []string{"bytes 0-9/10", "0-", "-9", "a-b", "0-9,10-19", "9-0", "0 - 9", "0-99999999999999999999"} {
		a := w.want(w.do("PATCH", next, []byte("0123456789"), "Content-Range", bad), 416, "BLOB_UPLOAD_INVALID")
		w.wantHeader(a, "Location", next)
	}
	w.want(w.do("PATCH", next, []byte("0123456789"), "Content-Range", "0-8"), 400, "SIZE_INVALID")
	w.want(w.do("PATCH", next, struct{ *strings.Reader }{strings.NewReader("0123456789")}, "Content-Range", "0-8"), 400, "SIZE_INVALID")
	w.want(w.do("PATCH", next, struct{ *strings.Reader }{strings.NewReader("0123456789")}, "Content-Range", "0-10"), 400, "SIZE_INVALID")
	// None of it counts.
	data := []byte("9876543210")
	w.want(w.do("PATCH", next, data, "Content-Range", "0-9"), 202)
	a := w.want(w.do("PUT", next+"?digest="+digest.FromBytes(data).String(), nil), 201)
	if got := w.do("GET", a.Header.Get("Location"), nil); string(got.body) != string(data) {
		t.Errorf("pulled %q", got.body)
	}
}

// Pushing a blob in chunks: the digest at the end.
func specChunksWithAnotherDigest(t *testing.T) {
	w := start(t)
	next := w.do("POST", "/v2/demo/shop/blobs/uploads/", nil).Header.Get("Location")
	w.want(w.do("PATCH", next, []byte("content")), 202)
	w.want(w.do("PUT", next+"?digest="+digest.FromString("something else").String(), nil), 400, "DIGEST_INVALID")
	w.want(w.do("GET", next, nil), 404, "BLOB_UPLOAD_UNKNOWN")
	w.want(w.do("HEAD", "/v2/demo/shop/blobs/"+digest.FromString("content").String(), nil), 404)
}

// Cancel a blob upload, end-14.
func specCancel(t *testing.T) {
	w := start(t)
	loc := w.do("POST", "/v2/demo/shop/blobs/uploads/", nil).Header.Get("Location")
	w.want(w.do("PATCH", loc, []byte("content")), 202)
	w.want(w.do("DELETE", loc, nil), 204)
	w.want(w.do("GET", loc, nil), 404, "BLOB_UPLOAD_UNKNOWN")
	w.want(w.do("PATCH", loc, []byte("content")), 404, "BLOB_UPLOAD_UNKNOWN")
	w.want(w.do("DELETE", loc, nil), 404, "BLOB_UPLOAD_UNKNOWN")
}

// An upload belongs to its repository.
func specUploadOfAnotherRepository(t *testing.T) {
	w := start(t)
	loc := w.do("POST", "/v2/demo/shop/blobs/uploads/", nil).Header.Get("Location")
	other := strings.Replace(loc, "demo/shop", "demo/other", 1)
	for _, method := range []string{"GET", "PATCH", "DELETE"} {
		w.want(w.do(method, other, nil), 404, "BLOB_UPLOAD_UNKNOWN")
	}
	w.want(w.do("PUT", other+"?digest="+never, nil), 404, "BLOB_UPLOAD_UNKNOWN")
	w.want(w.do("GET", "/v2/demo/shop/blobs/uploads/none", nil), 404, "BLOB_UPLOAD_UNKNOWN")
}

// Mounting a blob from another repository, end-11.
func specMount(t *testing.T) {
	w := start(t)
	d := w.pushBlob("demo/shop", []byte("to be mounted"))
	a := w.want(w.do("POST", "/v2/demo/other/blobs/uploads/?mount="+d.Digest.String()+"&from=demo/shop", nil), 201)
	w.wantHeader(a, "Docker-Content-Digest", d.Digest.String())
	w.want(w.do("GET", a.Header.Get("Location"), nil), 200)
	// Without from, the registry looks for it.
	a = w.want(w.do("POST", "/v2/demo/third/blobs/uploads/?mount="+d.Digest.String(), nil), 201)
	w.want(w.do("GET", a.Header.Get("Location"), nil), 200)
	// What cannot be mounted becomes an upload.
	for _, query := range []string{"mount=" + never + "&from=demo/shop", "mount=" + never, "mount=" + d.Digest.String() + "&from=no/such", "mount=" + d.Digest.String() + "&from=../x"} {
		a = w.want(w.do("POST", "/v2/demo/fourth/blobs/uploads/?"+query, nil), 202)
		w.want(w.do("GET", a.Header.Get("Location"), nil), 204)
	}
	w.want(w.do("POST", "/v2/demo/fourth/blobs/uploads/?mount=x", nil), 400, "DIGEST_INVALID")
}

// Pushing manifests, end-7.
func specPushingManifests(t *testing.T) {
	w := start(t)
	data := w.image("demo/shop", "push")
	d := digest.FromBytes(data)
	a := w.want(w.do("PUT", "/v2/demo/shop/manifests/"+d.String(), data, "Content-Type", ocispec.MediaTypeImageManifest), 201)
	w.wantHeader(a, "Docker-Content-Digest", d.String())
	w.wantHeader(a, "OCI-Subject", "")
	w.want(w.do("GET", a.Header.Get("Location"), nil), 200)
	// Parameters of the type do not count.
	a = w.want(w.do("PUT", "/v2/demo/shop/manifests/v1", data, "Content-Type", ocispec.MediaTypeImageManifest+"; charset=utf-8"), 201)
	w.wantHeader(w.do("GET", a.Header.Get("Location"), nil), "Content-Type", ocispec.MediaTypeImageManifest)
	// Without a type, the manifest says it.
	w.want(w.do("PUT", "/v2/demo/shop/manifests/v2", data), 201)
	w.want(w.do("PUT", "/v2/demo/shop/manifests/"+never, data), 400, "DIGEST_INVALID")
	w.want(w.do("PUT", "/v2/demo/shop/manifests/v1", data, "Content-Type", ocispec.MediaTypeImageIndex), 400, "MANIFEST_INVALID")
	w.want(w.do("PUT", "/v2/demo/shop/manifests/.bad", data), 404, "MANIFEST_UNKNOWN")
	w.want(w.do("PUT", "/v2/demo/shop/manifests/"+strings.Repeat("a", 129), data), 404, "MANIFEST_UNKNOWN")
	// A tag moves.
	other := w.pushManifest("demo/shop", "v1", w.image("demo/shop", "push again"))
	w.wantHeader(w.do("HEAD", "/v2/demo/shop/manifests/v1", nil), "Docker-Content-Digest", other.Digest.String())
	w.want(w.do("GET", "/v2/demo/shop/manifests/"+d.String(), nil), 200)
}

// Pushing manifests: what is refused.
func specInvalidManifests(t *testing.T) {
	w := start(t)
	image, index := ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex
	config := w.pushBlob("demo/shop", []byte("{}"))
	desc := func(d digest.Digest) string { return fmt.Sprintf(`{"mediaType":"a/b","digest":%q,"size":2}`, d) }
	for _, tc := range []struct{ mediaType, data string }{
		{image, ""}, {image, "x"}, {image, "[]"}, {image, "null"}, {image, `"x"`}, {image, "{"},
		{image, `{"schemaVersion":1,"config":` + desc(config.Digest) + `}`},
		{image, `{"schemaVersion":2}`},
		{image, `{"schemaVersion":2,"config":{"digest":"nonsense","size":2}}`},
		{image, `{"schemaVersion":2,"config":{"digest":"../../etc/passwd","size":2}}`},
		{image, `{"schemaVersion":2,"config":{"digest":"` + config.Digest.String() + `","size":-1}}`},
		{image, `{"schemaVersion":2,"config":` + desc(config.Digest) + `,"manifests":[]}`},
		{image, `{"schemaVersion":2,"config":` + desc(config.Digest) + `,"subject":{"digest":"x"}}`},
		{image, `{"schemaVersion":2,"mediaType":"` + index + `","config":` + desc(config.Digest) + `}`},
		{index, `{"schemaVersion":2,"manifests":[],"layers":[]}`},
		{index, `{"schemaVersion":3,"manifests":[]}`},
		{"application/vnd.docker.distribution.manifest.v1+prettyjws", `{"schemaVersion":1}`},
		{"", `{"schemaVersion":2}`},
	} {
		w.want(w.do("PUT", "/v2/demo/shop/manifests/bad", tc.data, "Content-Type", tc.mediaType), 400, "MANIFEST_INVALID")
	}
	w.want(w.do("GET", "/v2/demo/shop/manifests/bad", nil), 404)
}

// Push: a manifest whose content is not all there is rejected with one error
// for each piece. The exception is its subject.
func specMissingContent(t *testing.T) {
	w := start(t)
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest}
	m.SchemaVersion = 2
	m.Config = ocispec.Descriptor{MediaType: "a/b", Digest: digest.FromString("config"), Size: 1}
	m.Layers = []ocispec.Descriptor{{MediaType: "a/b", Digest: digest.FromString("layer"), Size: 1}}
	a := w.want(w.do("PUT", "/v2/demo/shop/manifests/v1", marshal(t, m), "Content-Type", m.MediaType), 404, "MANIFEST_BLOB_UNKNOWN")
	var e struct {
		Errors []struct{ Detail struct{ Digest string } }
	}
	if err := json.Unmarshal(a.body, &e); err != nil || len(e.Errors) != 2 {
		t.Fatalf("%s", a.body)
	}
	if e.Errors[0].Detail.Digest == "" || e.Errors[0] == e.Errors[1] {
		t.Errorf("%s", a.body)
	}
	// The same blobs in another repository do not help.
	w.pushBlob("demo/other", []byte("config"))
	w.pushBlob("demo/other", []byte("layer"))
	w.want(w.do("PUT", "/v2/demo/shop/manifests/v1", marshal(t, m), "Content-Type", m.MediaType), 404, "MANIFEST_BLOB_UNKNOWN")
	w.pushManifest("demo/other", "v1", marshal(t, m))
	// Layers that are somewhere else by design are not asked for.
	m.Config, m.Layers[0].URLs = w.pushBlob("demo/shop", []byte("{}")), []string{"https://example.com/layer"}
	w.pushManifest("demo/shop", "foreign", marshal(t, m))
	// An index needs its manifests.
	idx := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{{MediaType: m.MediaType, Digest: never, Size: 1}}}
	idx.SchemaVersion = 2
	w.want(w.do("PUT", "/v2/demo/shop/manifests/index", marshal(t, idx), "Content-Type", idx.MediaType), 404, "MANIFEST_BLOB_UNKNOWN")
	idx.Manifests[0] = w.pushManifest("demo/shop", "one", w.image("demo/shop", "one"))
	w.pushManifest("demo/shop", "index", marshal(t, idx))
}

// Pushing manifests: other types than OCI's, and other algorithms.
func specOtherManifests(t *testing.T) {
	w := start(t)
	data := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.example.thing.v1+json","config":{"digest":"` + never + `","size":0}}`)
	d := w.pushManifest("demo/shop", "thing", data)
	a := w.want(w.do("GET", "/v2/demo/shop/manifests/thing", nil), 200)
	w.wantHeader(a, "Content-Type", d.MediaType)
	docker := "application/vnd.docker.distribution.manifest.v2+json"
	dockered := []byte(strings.ReplaceAll(string(w.image("demo/shop", "docker")), ocispec.MediaTypeImageManifest, docker))
	w.pushManifest("demo/shop", "docker", dockered)
	w.wantHeader(w.do("GET", "/v2/demo/shop/manifests/docker", nil), "Content-Type", docker)

	long := digest.SHA512.FromBytes(dockered)
	w.pushManifest("demo/shop", long.String(), dockered)
	a = w.want(w.do("GET", "/v2/demo/shop/manifests/"+long.String(), nil), 200)
	w.wantHeader(a, "Docker-Content-Digest", long.String())
	content := []byte("a blob of sha512")
	blob := digest.SHA512.FromBytes(content)
	w.want(w.do("POST", "/v2/demo/shop/blobs/uploads/?digest="+blob.String(), content), 201)
	loc := w.do("POST", "/v2/demo/third/blobs/uploads/", nil).Header.Get("Location")
	w.want(w.do("PATCH", loc, content), 202)
	w.want(w.do("PUT", loc+"?digest="+blob.String(), nil), 201)
	if a := w.want(w.do("GET", "/v2/demo/third/blobs/"+blob.String(), nil), 200); !bytes.Equal(a.body, content) {
		t.Errorf("pulled %q", a.body)
	}
}

// Pushing manifests: the limit of four megabytes, which are still taken.
func specManifestSize(t *testing.T) {
	w := start(t)
	pad := func(size int) []byte {
		b := []byte(`{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[]`)
		return append(append(b, bytes.Repeat([]byte(" "), size-len(b)-1)...), '}')
	}
	w.pushManifest("demo/shop", "large", pad(4<<20))
	w.want(w.do("PUT", "/v2/demo/shop/manifests/larger", pad(4<<20+1)), 413, "SIZE_INVALID")
	w.want(w.do("PUT", "/v2/demo/shop/manifests/larger", struct{ *bytes.Reader }{bytes.NewReader(pad(4<<20 + 1))}), 413, "SIZE_INVALID")
}

// Listing tags, end-8a and end-8b.
func specListingTags(t *testing.T) {
	w := start(t)
	data := w.image("demo/shop", "tags")
	tags := []string{"v3", "V2", "latest", "v10", "v1", "_x", "0.1"}
	d := w.pushManifest("demo/shop", "gone", data)
	for _, tag := range tags {
		w.pushManifest("demo/shop", tag, data)
	}
	w.want(w.do("DELETE", "/v2/demo/shop/manifests/gone", nil), 202)
	slices.Sort(tags)
	get := func(query string) ([]string, answer) {
		t.Helper()
		a := w.want(w.do("GET", "/v2/demo/shop/tags/list"+query, nil), 200)
		var got struct {
			Name string
			Tags []string
		}
		if err := json.Unmarshal(a.body, &got); err != nil || got.Name != "demo/shop" || got.Tags == nil {
			t.Fatalf("%s: %s", query, a.body)
		}
		return got.Tags, a
	}
	for query, want := range map[string][]string{
		"":                tags,
		"?n=100":          tags,
		"?n=0":            {},
		"?n=2":            tags[:2],
		"?n=2&last=V2":    tags[2:4],
		"?last=latest":    tags[4:],
		"?last=v3":        {},
		"?last=v2&n=9":    {"v3"}, // it need not be there
		"?n=3&last=zzzzz": {},
	} {
		got, a := get(query)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
		last := len(got) == 0 || got[len(got)-1] == tags[len(tags)-1]
		if link := a.Header.Get("Link"); (link == "") != last {
			t.Errorf("%s: link %q", query, link)
		}
	}
	// Following the links gives all.
	var all []string
	for query, n := "?n=3", 0; query != ""; n++ {
		if n > 5 {
			t.Fatal("the links do not end")
		}
		got, a := get(query)
		all = append(all, got...)
		target, rel, ok := strings.Cut(a.Header.Get("Link"), ">; ")
		if query = ""; ok {
			if rel != `rel="next"` {
				t.Errorf("relation %s", rel)
			}
			query = strings.TrimPrefix(target, "</v2/demo/shop/tags/list")
		}
	}
	if diff := cmp.Diff(tags, all); diff != "" {
		t.Errorf("by links (-want +got):\n%s", diff)
	}
	w.want(w.do("GET", "/v2/demo/shop/tags/list?n=x", nil), 400, "UNSUPPORTED")
	w.want(w.do("GET", "/v2/demo/none/tags/list", nil), 404, "NAME_UNKNOWN")
	// A repository without tags has an empty list.
	for _, tag := range tags {
		w.want(w.do("DELETE", "/v2/demo/shop/manifests/"+tag, nil), 202)
	}
	if got, _ := get(""); len(got) != 0 {
		t.Errorf("tags %v", got)
	}
	w.want(w.do("GET", "/v2/demo/shop/manifests/"+d.Digest.String(), nil), 200)
}

// Deleting tags and manifests, end-9.
func specDeleting(t *testing.T) {
	w := start(t)
	data := w.image("demo/shop", "delete")
	d := w.pushManifest("demo/shop", "v1", data)
	w.pushManifest("demo/shop", "v2", data)
	w.want(w.do("DELETE", "/v2/demo/shop/manifests/v1", nil), 202)
	w.want(w.do("GET", "/v2/demo/shop/manifests/v1", nil), 404, "MANIFEST_UNKNOWN")
	w.want(w.do("GET", "/v2/demo/shop/manifests/v2", nil), 200)
	w.want(w.do("DELETE", "/v2/demo/shop/manifests/v1", nil), 404, "MANIFEST_UNKNOWN")
	w.want(w.do("DELETE", "/v2/demo/shop/manifests/"+d.Digest.String(), nil), 202)
	w.want(w.do("GET", "/v2/demo/shop/manifests/"+d.Digest.String(), nil), 404, "MANIFEST_UNKNOWN")
	w.want(w.do("GET", "/v2/demo/shop/manifests/v2", nil), 404, "MANIFEST_UNKNOWN") // any tag pointing to it
	w.want(w.do("DELETE", "/v2/demo/shop/manifests/"+d.Digest.String(), nil), 404, "MANIFEST_UNKNOWN")
	w.want(w.do("DELETE", "/v2/demo/none/manifests/"+d.Digest.String(), nil), 404, "MANIFEST_UNKNOWN")
}

// Deleting blobs, end-10. One that a manifest needs stays.
func specDeletingBlobs(t *testing.T) {
	w := start(t)
	data := w.image("demo/shop", "delete")
	d := w.pushManifest("demo/shop", "v1", data)
	path := "/v2/demo/shop/blobs/" + digest.FromString("delete").String()
	a := w.want(w.do("DELETE", path, nil), 405, "UNSUPPORTED")
	w.wantHeader(a, "Allow", "GET, HEAD")
	w.want(w.do("GET", path, nil), 200)
	w.want(w.do("DELETE", "/v2/demo/shop/manifests/"+d.Digest.String(), nil), 202)
	w.want(w.do("DELETE", path, nil), 202)
	w.want(w.do("GET", path, nil), 404, "BLOB_UNKNOWN")
	w.want(w.do("DELETE", path, nil), 404, "BLOB_UNKNOWN")
	w.want(w.do("DELETE", "/v2/demo/none/blobs/"+never, nil), 404, "BLOB_UNKNOWN")
}
