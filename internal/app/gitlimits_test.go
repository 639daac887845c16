package app

import (
	"errors"
	"testing"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

func TestGitLimits(t *testing.T) {
	push, file, repository, err := (&gitLimits{push: "2Gi", file: "100M"}).bytes()
	if push != 2<<30 || file != 100_000_000 || repository != 0 || err != nil {
		t.Errorf("%d %d %d %v", push, file, repository, err)
	}
	for _, bad := range []string{"x", "-1", "0", "1m", "1e40"} {
		if _, _, _, err := (&gitLimits{file: bad}).bytes(); !errors.Is(err, problem.ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
