package buildkit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
)

// dropUnrecorded removes the directories below dir of snapshots that sn has no
// record of. A kill between making a snapshot's directory and recording it
// leaves one, and it is in the way of the next snapshot, which gets the same
// number: without this every later build would fail.
func dropUnrecorded(ctx context.Context, sn snapshots.Snapshotter, dir string) error {
	c, ok := sn.(snapshots.Cleaner)
	if !ok {
		return nil
	}
	err := c.Cleanup(ctx)
	if errdefs.IsNotFound(err) { // there is no record of any snapshot yet
		err = removeAllIn(dir)
	}
	if err != nil {
		return fmt.Errorf("remove unrecorded snapshots: %w", err)
	}
	return nil
}

func removeAllIn(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return errors.Join(errs...)
}
