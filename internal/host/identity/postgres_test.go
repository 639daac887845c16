package identity_test

import (
	"testing"

	"github.com/penstock-dev/penstock/internal/host/store/storetest"
)

// TestNoTokenIsEverWritten reads the file of the store, which is not there.
func TestOnPostgres(t *testing.T) { storetest.Again(t, "^Test(Admin|An|AJob|ASecret|Issue|Guessing)") }
