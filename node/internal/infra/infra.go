// Package infra holds the images that the node itself needs: the pause image of
// every Pod, and the tool image of the readiness probe and the tests. They are
// made from Go programs of this module and are part of the binary, so that no
// registry is needed.
package infra

import (
	"archive/tar"
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"runtime"
	"slices"

	digest "github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/penstock-dev/penstock/node/internal/fault"
)

//go:generate go run ./generate

//go:embed all:assets
var assets embed.FS

// Names of the images.
const (
	PauseImage = "penstock.localhost:7080/penstock/pause:1"
	ToolsImage = "penstock.localhost:7080/penstock/tools:1"
)

// Image is one image, as an archive in the OCI layout.
type Image struct {
	Name     string
	Manifest digest.Digest
	Archive  []byte
}

// Images returns the images.
func Images() ([]Image, error) {
	pause, err := program("pause")
	if err != nil {
		return nil, err
	}
	tools, err := program("tools")
	if err != nil {
		return nil, err
	}
	a, err := build(PauseImage, map[string][]byte{"pause": pause}, ocispec.ImageConfig{Entrypoint: []string{"/pause"}, User: "65535:65535"})
	if err != nil {
		return nil, err
	}
	b, err := build(ToolsImage, map[string][]byte{"tools": tools}, ocispec.ImageConfig{Entrypoint: []string{"/tools"}, Env: []string{"PATH=/"}})
	if err != nil {
		return nil, err
	}
	return []Image{a, b}, nil
}

func program(name string) ([]byte, error) {
	b, err := fs.ReadFile(assets, "assets/"+name)
	if err != nil {
		return nil, &fault.Error{Op: "load the program", Subject: name, Err: errors.New("this penstock-node was built without it"),
			Hint: "build with `make`, or run `go generate ./internal/infra` in node/ before `go build`"}
	}
	return b, nil
}

// build makes an image of one layer with executables in its root directory.
// The same input gives the same bytes.
func build(name string, files map[string][]byte, config ocispec.ImageConfig) (Image, error) {
	var layer bytes.Buffer
	tw := tar.NewWriter(&layer)
	for _, n := range slices.Sorted(maps.Keys(files)) {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: n, Mode: 0o755, Size: int64(len(files[n])), Format: tar.FormatUSTAR}); err != nil {
			return Image{}, err
		}
		if _, err := tw.Write(files[n]); err != nil {
			return Image{}, err
		}
	}
	// Programs expect a place for temporary files.
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777, Format: tar.FormatUSTAR}); err != nil {
		return Image{}, err
	}
	if err := tw.Close(); err != nil {
		return Image{}, err
	}
	blobs := map[digest.Digest][]byte{}
	add := func(mediaType string, b []byte) ocispec.Descriptor {
		d := digest.FromBytes(b)
		blobs[d] = b
		return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}
	}
	addJSON := func(mediaType string, v any) (ocispec.Descriptor, error) {
		b, err := json.Marshal(v)
		return add(mediaType, b), err
	}
	l := add(ocispec.MediaTypeImageLayer, layer.Bytes())
	c, err := addJSON(ocispec.MediaTypeImageConfig, ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH},
		Config:   config,
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{l.Digest}},
	})
	if err != nil {
		return Image{}, err
	}
	m, err := addJSON(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: c, Layers: []ocispec.Descriptor{l},
	})
	if err != nil {
		return Image{}, err
	}
	archive, err := layout(m, blobs)
	return Image{Name: name, Manifest: m.Digest, Archive: archive}, err
}

// layout writes an OCI layout as an archive.
func layout(m ocispec.Descriptor, blobs map[digest.Digest][]byte) ([]byte, error) {
	index, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{m}})
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{
		ocispec.ImageLayoutFile: []byte(`{"imageLayoutVersion":"` + ocispec.ImageLayoutVersion + `"}`),
		ocispec.ImageIndexFile:  index,
	}
	for d, b := range blobs {
		files["blobs/sha256/"+d.Encoded()] = b
	}
	var out bytes.Buffer
	tw := tar.NewWriter(&out)
	for _, n := range slices.Sorted(maps.Keys(files)) {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: n, Mode: 0o644, Size: int64(len(files[n])), Format: tar.FormatUSTAR}); err != nil {
			return nil, err
		}
		if _, err := tw.Write(files[n]); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), tw.Close()
}

// Reader reads the archive.
func (i Image) Reader() io.Reader { return bytes.NewReader(i.Archive) }
