//go:build unix

package actions

import (
	"os"

	"golang.org/x/sys/unix"
)

// link makes the file of that name in from one in to as well, without following
// links.
func link(from, to *os.File, name string) error {
	return unix.Linkat(int(from.Fd()), name, int(to.Fd()), name, 0)
}
