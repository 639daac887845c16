package git

import (
	"errors"
	"io/fs"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/penstock-dev/penstock/internal/base/atomicfile"
	"github.com/penstock-dev/penstock/internal/base/event"
)

// manyRefs is from how many refs on the whole file system is synced at once:
// git would sync one ref after another, which takes seconds for a thousand.
const manyRefs = 16

// syncRefs makes the refs of a push and the names of its objects durable: what
// the event log says must not be gone after a power cut. The objects
// themselves git has synced.
func syncRefs(dir string, updates []event.RefUpdate) error {
	if len(updates) >= manyRefs {
		return syncFileSystem(dir)
	}
	paths := map[string]bool{"": true, "packed-refs": true, filepath.Join("objects", "pack"): true}
	for _, u := range updates {
		// The directories may be as new as the ref, or gone with it.
		for p := filepath.FromSlash(u.Ref); p != "."; p = filepath.Dir(p) {
			paths[p] = true
		}
	}
	// At the same time: journalling file systems write it all at once.
	var g errgroup.Group
	for p := range paths {
		g.Go(func() error {
			err := atomicfile.SyncDir(filepath.Join(dir, p)) // works for a file as well
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNotDir) {
				return nil
			}
			return err
		})
	}
	return g.Wait()
}
