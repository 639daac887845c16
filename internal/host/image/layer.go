//go:build linux

package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/penstock-dev/penstock/internal/base/atomicfile"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/image/unpack"
)

// layerInfo is what unpacking a layer has shown.
type layerInfo struct {
	Bytes    int64    `json:"bytes"`
	Entries  int      `json:"entries"`
	Implicit []string `json:"implicit,omitempty"`
}

const (
	infoName  = "layer.json"
	tmpPrefix = "tmp-" // of directories that are not finished, or not wanted
)

// layer unpacks a layer unless it is here, and says how large it is.
func (s *Store) layer(ctx context.Context, id v1.Hash, l v1.Layer, limits unpack.Limits) (layerInfo, error) {
	if id.Algorithm != "sha256" {
		return layerInfo{}, fmt.Errorf("%w: layers are known by sha256, not %s", problem.ErrInvalid, id.Algorithm)
	}
	dir := s.layerDir(id)
	if info, err := readInfo(dir); err == nil {
		return info, nil
	}
	// One process unpacks, others wait for it.
	lock, err := lockExclusive(ctx, dir+".lock")
	if err != nil {
		return layerInfo{}, err
	}
	defer lock.Close()
	defer os.Remove(lock.Name())
	if info, err := readInfo(dir); err == nil {
		return info, nil
	}
	s.log.Info("unpacking layer", "layer", id)
	tmp, err := os.MkdirTemp(filepath.Dir(dir), tmpPrefix+"*")
	if err != nil {
		return layerInfo{}, err
	}
	defer os.RemoveAll(tmp) // without effect once it has its name
	info, err := unpackTo(ctx, tmp, id, l, limits)
	if err != nil {
		return layerInfo{}, err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return layerInfo{}, fmt.Errorf("keep layer: %w", err)
	}
	return info, atomicfile.SyncDir(filepath.Dir(dir))
}

func unpackTo(ctx context.Context, dir string, id v1.Hash, l v1.Layer, limits unpack.Limits) (layerInfo, error) {
	root := filepath.Join(dir, "fs")
	if err := os.Mkdir(root, 0o755); err != nil {
		return layerInfo{}, err
	}
	content, err := l.Uncompressed()
	if err != nil {
		return layerInfo{}, fmt.Errorf("fetch: %w", err)
	}
	defer content.Close()
	stop := context.AfterFunc(ctx, func() { content.Close() })
	defer stop()
	sum := sha256.New()
	result, err := unpack.Layer(ctx, io.TeeReader(content, sum), root, limits)
	if ctx.Err() != nil {
		return layerInfo{}, ctx.Err()
	}
	if err != nil {
		return layerInfo{}, err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != id.Hex {
		return layerInfo{}, fmt.Errorf("%w: the layer's content is %s, not %s as the image says", problem.ErrInvalid, got, id.Hex)
	}
	info := layerInfo{Bytes: result.Bytes, Entries: result.Entries, Implicit: result.Implicit}
	data, err := json.Marshal(info)
	if err != nil {
		return layerInfo{}, err
	}
	if err := os.WriteFile(filepath.Join(dir, infoName), data, 0o600); err != nil {
		return layerInfo{}, err
	}
	return info, syncFS(dir)
}

// syncFS writes everything in the file system to the disk, which is cheaper
// than to ask for each of ten thousand files.
func syncFS(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync layer: %w", err)
	}
	return nil
}

func readInfo(dir string) (layerInfo, error) {
	var info layerInfo
	data, err := os.ReadFile(filepath.Join(dir, infoName))
	if err == nil {
		err = json.Unmarshal(data, &info)
	}
	if err != nil {
		return layerInfo{}, fmt.Errorf("read layer: %w", err)
	}
	return info, nil
}

// lockShared locks a layer against removal.
func lockShared(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("use layer: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if err == nil {
		err = stillAt(f, dir)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("use layer: %w", err)
	}
	return f, nil
}

// lockExclusive waits until nobody else has the file locked.
func lockExclusive(ctx context.Context, name string) (*os.File, error) {
	for {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && stillAt(f, name) == nil {
			return f, nil
		}
		f.Close()
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stillAt says no when the file has been removed since it was opened: then the
// lock is on nothing.
func stillAt(f *os.File, name string) error {
	mine, err := f.Stat()
	if err != nil {
		return err
	}
	there, err := os.Stat(name)
	if err != nil {
		return err
	}
	if !os.SameFile(mine, there) {
		return fmt.Errorf("%w: it was removed meanwhile", problem.ErrNotFound)
	}
	return nil
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
