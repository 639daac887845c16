//go:build linux

package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Prune removes the layers that no session uses and none has begun to use
// since before, what a crash left half unpacked, and what was known of the
// images. It says how many bytes of layers are gone.
func (s *Store) Prune(ctx context.Context, before time.Time) (freed int64, err error) {
	layers := filepath.Join(s.dir, "layers")
	entries, err := os.ReadDir(layers)
	if err != nil {
		return 0, fmt.Errorf("read image store: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return freed, err
		}
		name := filepath.Join(layers, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), tmpPrefix):
			err = pruneHalf(name, before)
		case e.IsDir():
			var n int64
			n, err = pruneLayer(name, before)
			freed += n
		default:
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("remove layer %s: %w", e.Name(), err))
		}
	}
	for _, kind := range []string{"images", "refs"} {
		errs = append(errs, pruneFiles(filepath.Join(s.dir, kind), before))
	}
	return freed, errors.Join(errs...)
}

// pruneHalf removes what nobody is unpacking any more.
func pruneHalf(dir string, before time.Time) error {
	fi, err := os.Stat(filepath.Join(dir, "fs"))
	if errors.Is(err, fs.ErrNotExist) {
		fi, err = os.Stat(dir)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	// A layer takes less than a day to fetch.
	if day := time.Now().Add(-24 * time.Hour); fi.ModTime().Before(before) && fi.ModTime().Before(day) {
		return os.RemoveAll(dir)
	}
	return nil
}

func pruneLayer(dir string, before time.Time) (int64, error) {
	f, err := os.Open(dir)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return 0, nil // in use
	} else if err != nil {
		return 0, err
	}
	fi, err := os.Stat(filepath.Join(dir, infoName))
	if err != nil || !fi.ModTime().Before(before) {
		return 0, err
	}
	info, err := readInfo(dir)
	if err != nil {
		return 0, err
	}
	trash, err := os.MkdirTemp(filepath.Dir(dir), tmpPrefix+"*")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(trash)
	// First its name goes, so that no part of it is ever taken for a layer.
	if err := os.Rename(dir, filepath.Join(trash, "layer")); err != nil {
		return 0, err
	}
	return info.Bytes, os.RemoveAll(trash)
}

func pruneFiles(dir string, before time.Time) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		fi, err := e.Info()
		if err == nil && fi.ModTime().Before(before) {
			err = os.Remove(filepath.Join(dir, e.Name()))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
