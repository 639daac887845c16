package infra

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"testing"

	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestBuild: the same input gives the same bytes, and each blob has its name.
func TestBuild(t *testing.T) {
	files := map[string][]byte{"b": []byte("two"), "a": []byte("one")}
	first, err := build("x:1", files, ocispec.ImageConfig{Entrypoint: []string{"/a"}})
	if err != nil {
		t.Fatal(err)
	}
	second, err := build("x:1", files, ocispec.ImageConfig{Entrypoint: []string{"/a"}})
	if err != nil || !bytes.Equal(first.Archive, second.Archive) || first.Manifest != second.Manifest {
		t.Errorf("two builds differ, %v", err)
	}
	tr := tar.NewReader(first.Reader())
	seen := map[string]bool{}
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		seen[h.Name] = true
		if rest, ok := bytes.CutPrefix([]byte(h.Name), []byte("blobs/sha256/")); ok && digest.FromBytes(b).Encoded() != string(rest) {
			t.Errorf("%s has another content", h.Name)
		}
	}
	for _, want := range []string{"oci-layout", "index.json", "blobs/sha256/" + first.Manifest.Encoded()} {
		if !seen[want] {
			t.Errorf("no %s in %v", want, seen)
		}
	}
}
