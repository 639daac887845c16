package storage

import (
	"bytes"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// FuzzParseManifest shows that what is accepted has only digests that can be
// paths, and parses in the same way again.
func FuzzParseManifest(f *testing.F) {
	d := "sha256:" + strings.Repeat("ab", 32)
	for _, s := range []string{
		`{}`, `null`, `[]`, `{"schemaVersion":2,"config":{"digest":"` + d + `"}}`,
		`{"schemaVersion":2,"manifests":[{"digest":"` + d + `","urls":["x"]}],"subject":{"digest":"` + d + `"}}`,
		`{"schemaVersion":2,"config":{"digest":"sha256:../../x"},"layers":[{"digest":1}]}`, `{"x":[{"digest":"` + d + `"}]}`,
		strings.Repeat(`{"a":`, 100) + `1` + strings.Repeat(`}`, 100),
	} {
		for _, t := range []string{ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex, dockerManifest, "a/b", ""} {
			f.Add(t, []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, mediaType string, data []byte) {
		r, err := parseManifest(mediaType, data)
		if err != nil {
			return
		}
		if r.mediaType == "" || !bytes.Contains(data, []byte("{")) {
			t.Errorf("accepted %q as %q", data, r.mediaType)
		}
		for _, list := range [][]string{strs(r.blobs), strs(r.manifests), strs(r.others)} {
			for _, d := range list {
				if _, err := ParseDigest(d); err != nil || strings.ContainsAny(d, "/.") {
					t.Errorf("digest %q", d)
				}
			}
		}
	})
}

func strs[T ~string](list []T) []string {
	var out []string
	for _, s := range list {
		out = append(out, string(s))
	}
	return out
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{"a", "a/b", "a..b", "a/../b", "_a", "a__b", "a___b", "a-", "sha256:00", "A", "a/", "é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if CheckName(text) == nil {
			for part := range strings.SplitSeq(text, "/") {
				if part == "" || strings.HasPrefix(part, "_") || strings.HasPrefix(part, ".") || strings.Contains(part, "..") {
					t.Errorf("name %q", text)
				}
			}
		}
		if CheckTag(text) == nil && (strings.ContainsAny(text, "/:") || text[0] == '.') {
			t.Errorf("tag %q", text)
		}
		if d, err := ParseDigest(text); err == nil && strings.ContainsAny(d.Encoded(), "/.") {
			t.Errorf("digest %q", text)
		}
		if CheckView(text) == nil && strings.ContainsAny(text, "/._") {
			t.Errorf("view %q", text)
		}
	})
}
