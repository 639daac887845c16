package runs_test

import (
	"testing"

	"github.com/penstock-dev/penstock/internal/host/store/storetest"
)

func TestOnPostgres(t *testing.T) { storetest.Again(t, ".") }
