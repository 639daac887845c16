package buildinfo_test

import (
	"testing"

	"github.com/penstock-dev/penstock/internal/base/buildinfo"
)

func TestNothingIsEmpty(t *testing.T) {
	i := buildinfo.Get()
	for name, v := range map[string]string{"version": i.Version, "commit": i.Commit, "date": i.Date, "go": i.Go, "os": i.OS, "arch": i.Arch} {
		if v == "" {
			t.Errorf("%s is empty", name)
		}
	}
}
