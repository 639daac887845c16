package runs_test

import (
	"testing"

	"github.com/penstock-dev/penstock/internal/host/store/storetest"
)

// The tests in which the store matters.
func TestOnPostgres(t *testing.T) {
	storetest.Again(t, "^Test(ServiceDies|Every|Push|SamePush|Restart|Cancel|ARepository|ABuilt|LogsOutlive|Job|Path)")
}
