package blob

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// errFull ends a walk that has found enough.
var errFull = errors.New("enough")

func (s *files) List(ctx context.Context, prefix, after string, limit int) ([]Info, error) {
	l := lister{ctx: ctx, prefix: prefix, after: after, limit: limit}
	if err := l.dir(s.blobs(), ""); err != nil && !errors.Is(err, errFull) {
		return nil, fmt.Errorf("list blobs %s: %w", prefix, err)
	}
	return l.found, nil
}

// lister walks the directories in order of the keys. It holds the names of
// the directories from the root to where it is.
type lister struct {
	ctx           context.Context //nolint:containedctx // it lives as long as one call
	prefix, after string
	limit         int
	found         []Info
}

// dir lists the directory at path, whose keys begin with base.
func (l *lister) dir(path, base string) error {
	if err := context.Cause(l.ctx); err != nil {
		return err
	}
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed by a Delete since its parent was read
	}
	if err != nil {
		return err
	}
	type item struct {
		key string // of a directory: with a slash, as it is in the keys below
		fs.DirEntry
	}
	items := make([]item, 0, len(entries))
	for _, e := range entries {
		key := base + e.Name() + "/"
		if name, ok := strings.CutPrefix(e.Name(), leaf); ok {
			key = base + name
		}
		// Keys below a directory have its key as prefix: they come after
		// l.after when some of them can be greater, and can match when one of
		// the two is the other's beginning.
		below := strings.HasPrefix(key, l.prefix) || e.IsDir() && strings.HasPrefix(l.prefix, key)
		if below && (key > l.after || e.IsDir() && strings.HasPrefix(l.after, key)) {
			items = append(items, item{key, e})
		}
	}
	slices.SortFunc(items, func(a, b item) int { return cmp.Compare(a.key, b.key) })
	for _, it := range items {
		if it.IsDir() {
			if err := l.dir(filepath.Join(path, it.Name()), it.key); err != nil {
				return err
			}
			continue
		}
		fi, err := it.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if len(l.found) >= l.limit {
			return errFull
		}
		l.found = append(l.found, info(it.key, fi))
	}
	return nil
}
