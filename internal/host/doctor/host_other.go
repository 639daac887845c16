//go:build !linux

package doctor

import "errors"

var errNotLinux = errors.New("the embedded node runs on Linux only")

func free(string) (uint64, error) { return 0, errNotLinux }

func usable(string) error { return errNotLinux }
