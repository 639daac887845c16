package runner

import (
	"context"
	"errors"
	"os"

	"github.com/penstock-dev/penstock/internal/ci/jobdir"
)

var errInherit = errors.New("CI jobs do not run on windows: a runner inherits open files, which windows does not do")

// HoldLock says that there is no lock to hold.
func HoldLock(int) (*os.File, error) { return nil, errInherit }

// Await says that no job can come.
func Await(context.Context, int) (jobdir.Dir, *os.File, error) { return "", nil, errInherit }
