//go:build !unix

package actions

import (
	"errors"
	"os"
)

// link is not possible here: files are copied.
func link(_, _ *os.File, _ string) error { return errors.ErrUnsupported }
