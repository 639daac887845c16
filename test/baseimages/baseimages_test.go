package main

import (
	"archive/tar"
	"bytes"
	"io"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
)

// TestAliases checks the table: every name is one in full, stands there once,
// and is that of an image that can be made.
func TestAliases(t *testing.T) {
	aliases, err := readAliases()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for image, names := range aliases {
		if !slices.ContainsFunc(recipes, func(r recipe) bool { return r.name == image }) {
			t.Errorf("no image is called %q", image)
		}
		for _, n := range names {
			tag, err := name.NewTag(n, name.StrictValidation)
			if err != nil {
				t.Error(err)
				continue
			}
			if full := tag.Name(); seen[full] {
				t.Errorf("%s stands there twice", n)
			} else {
				seen[full] = true
			}
		}
	}
	for _, r := range recipes {
		if len(aliases[r.name]) == 0 {
			t.Errorf("nobody's file names %s", r.name)
		}
	}
}

func TestPlace(t *testing.T) {
	for in, want := range map[string]string{
		"./": "", "./bin/": "bin", "./bin/ls": "usr/bin/ls", "./lib/x86_64-linux-gnu/libc.so.6": "usr/lib/x86_64-linux-gnu/libc.so.6",
		"./usr/bin/env": "usr/bin/env", "../etc/passwd": "etc/passwd", "./binary": "binary",
	} {
		if got := place(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// The same files give the same layer, in whatever order they came.
func TestLayerIsReproducible(t *testing.T) {
	var want string
	for i, order := range [][]string{{"b", "a", "c"}, {"c", "b", "a"}} {
		f := &files{}
		for _, n := range order {
			f.file(n, 0o644, n)
		}
		f.dir("d", 0o755, 0)
		f.add("0-link", entry{header: tar.Header{Typeflag: tar.TypeLink, Linkname: "c", Mode: 0o644}})
		l, err := f.layer()
		if err != nil {
			t.Fatal(err)
		}
		d, err := l.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			want = d.String()
		} else if d.String() != want {
			t.Errorf("got %s, want %s", d, want)
		}
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		tr := tar.NewReader(bytes.NewReader(data))
		for h, err := tr.Next(); err == nil; h, err = tr.Next() {
			names = append(names, h.Name)
		}
		if d := cmp.Diff([]string{"a", "b", "c", "d/", "0-link"}, names); d != "" {
			t.Error(d)
		}
	}
}
