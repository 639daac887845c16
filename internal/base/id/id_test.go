package id_test

import (
	"testing"

	"github.com/penstock-dev/penstock/internal/base/id"
)

func TestIDs(t *testing.T) {
	if a, b := id.New(), id.New(); a == b || len(a) != 20 {
		t.Errorf("New gave %q and %q", a, b)
	}
	if s := id.Secret("pst_"); len(s) != 44 {
		t.Errorf("Secret gave %q", s)
	}
	if id.Of("a", "b") != id.Of("a", "b") || id.Of("a", "b") == id.Of("ab") {
		t.Error("Of does not tell its parts apart or is not stable")
	}
}
