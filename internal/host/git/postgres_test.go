package git_test

import (
	"testing"

	"github.com/penstock-dev/penstock/internal/host/store/storetest"
)

// The tests in which the store matters.
func TestOnPostgres(t *testing.T) {
	storetest.Again(t, "^Test(AKilled|Events|EveryPush|HeadFollows|ListAndDelete|PushesSideBySide|RefsOfAnyBytes|ProtectedBranch|Mirror|Aliases)")
}
