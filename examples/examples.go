// Package examples holds the demo's application and its manifests, as they are
// pushed by `penstock demo`.
//
// The shop is a Go module of its own, which go:embed does not reach into; so
// its files are also kept in one archive, shop.txtar, that `go generate`
// writes and a test compares.
package examples

import (
	"embed"
	"fmt"
	"io/fs"

	"golang.org/x/tools/txtar"
)

//go:generate go test -run TestShopArchive -update

//go:embed shop.txtar
var shop []byte

//go:embed all:shop-manifests
var manifests embed.FS

// Shop returns the files of the application's repository.
func Shop() (fs.FS, error) {
	files, err := txtar.FS(txtar.Parse(shop))
	if err != nil {
		return nil, fmt.Errorf("read the embedded shop: %w", err)
	}
	return files, nil
}

// Manifests returns the files of the manifest repository.
func Manifests() (fs.FS, error) {
	files, err := fs.Sub(manifests, "shop-manifests")
	if err != nil {
		return nil, fmt.Errorf("read the embedded manifests: %w", err)
	}
	return files, nil
}
