package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// nearest returns dir or the closest directory above it that exists.
func nearest(dir string) string {
	for {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

func free(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(nearest(dir), &st); err != nil {
		return 0, fmt.Errorf("look at free space of %s: %w", dir, err)
	}
	return st.Bavail * uint64(st.Bsize), nil
}

func usable(dir string) error {
	at := nearest(dir)
	fi, err := os.Stat(at)
	switch {
	case err != nil:
		return err
	case !fi.IsDir():
		return fmt.Errorf("%s is not a directory", at)
	}
	if err := unix.Access(at, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("%s is not writable: %w", at, err)
	}
	// Others' write permission would let them plant sockets and keys.
	if at == dir && fi.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s is writable by others (mode %04o): chmod 700 %s", dir, fi.Mode().Perm(), dir)
	}
	return nil
}
