//go:build linux

package container

import (
	"debug/elf"
	"errors"
	"fmt"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// checkStatic looks whether this program can be the first process in an image,
// which has no libraries of ours.
func checkStatic(program string) error {
	f, err := elf.Open(program)
	if err != nil {
		return fmt.Errorf("look at this program: %w", err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return &problem.Error{
				Op: "start containers", Err: errors.New("this build of penstock needs shared libraries, which images do not have"),
				Hint: "build it with CGO_ENABLED=0",
			}
		}
	}
	return nil
}
