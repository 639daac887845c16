//go:build linux

package exectest

import (
	"fmt"
	"os"
	"syscall"
	"testing"
)

// Owner is who a file belongs to.
func Owner(t *testing.T, path string) string {
	t.Helper()
	fi, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := fi.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d:%d", st.Uid, st.Gid)
}
