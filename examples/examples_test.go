package examples

import (
	"bytes"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

var update = flag.Bool("update", false, "write shop.txtar from the files in shop")

func TestShopArchive(t *testing.T) {
	a := txtar.Archive{Comment: []byte("Code generated from examples/shop by go generate. DO NOT EDIT.\n\n")}
	err := filepath.WalkDir("shop", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path == filepath.Join("shop", "dist"): // what a build leaves
			return fs.SkipDir
		case d.IsDir():
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		a.Files = append(a.Files, txtar.File{Name: strings.TrimPrefix(filepath.ToSlash(path), "shop/"), Data: b})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := txtar.Format(&a)
	if *update {
		if err := os.WriteFile("shop.txtar", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(shop, want) {
		t.Errorf("shop.txtar is not what examples/shop holds: run go generate ./examples\n%s", cmp.Diff(string(shop), string(want)))
	}
}

func TestShopIsWhole(t *testing.T) {
	files, err := Shop()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"go.mod", "Dockerfile", ".dockerignore", ".gitignore", ".github/workflows/ci.yml", "cmd/shop/main.go", "web/src/app.ts"} {
		got, err := fs.ReadFile(files, name)
		if err != nil {
			t.Error(err)
			continue
		}
		want, err := os.ReadFile(filepath.Join("shop", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs from the file on disk", name)
		}
	}
}

// TestEnvironments does with the manifests what the workflow and the
// controller do: set an image, promote it, render.
func TestEnvironments(t *testing.T) {
	files, err := Manifests()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, files); err != nil {
		t.Fatal(err)
	}
	script := func(wantOK bool, args ...string) {
		t.Helper()
		c := exec.Command("sh", args...)
		c.Dir = dir
		if out, err := c.CombinedOutput(); (err == nil) != wantOK {
			t.Fatalf("sh %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	digest := "sha256:" + strings.Repeat("0123456789abcdef", 4)

	before := render(t, filepath.Join(dir, "overlays", "dev"))
	if !strings.Contains(before, "replicas: 0") {
		t.Errorf("something runs before there is an image:\n%s", before)
	}
	script(false, "scripts/promote.sh", "dev", "staging")
	script(false, "scripts/set-image.sh", "dev", "sha256:short")
	script(false, "scripts/set-image.sh", "dev", "sha256:"+strings.Repeat("/", 64))
	script(false, "scripts/set-image.sh", "nowhere", digest)
	script(true, "scripts/set-image.sh", "dev", digest)
	script(true, "scripts/promote.sh", "dev", "staging")
	script(true, "scripts/promote.sh", "staging", "production")

	for env, want := range map[string][]string{
		"dev":        {"namespace: shop-dev", "host: shop-dev.localhost", "replicas: 1"},
		"staging":    {"namespace: shop-staging", "host: shop-staging.localhost", "replicas: 1"},
		"production": {"namespace: shop-production", "host: shop.localhost", "replicas: 2"},
	} {
		got := render(t, filepath.Join(dir, "overlays", env))
		for _, w := range append(want, "image: penstock.localhost:7080/demo/shop@"+digest) {
			if !strings.Contains(got, w+"\n") {
				t.Errorf("%s: no %q in\n%s", env, w, got)
			}
		}
		if n := strings.Count(got, "\nkind: "); n != 3 {
			t.Errorf("%s: %d objects, want Deployment, Service, Ingress:\n%s", env, n, got)
		}
		app, err := fs.ReadFile(files, "applications/"+env+".yaml")
		if err != nil {
			t.Error(err)
		}
		for _, w := range []string{"path: overlays/" + env, "namespace: shop-" + env} {
			if !slices.Contains(strings.Split(strings.ReplaceAll(string(app), "  ", ""), "\n"), w) {
				t.Errorf("application of %s has no %q", env, w)
			}
		}
	}
}

func render(t *testing.T, dir string) string {
	t.Helper()
	m, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return "\n" + string(b)
}
