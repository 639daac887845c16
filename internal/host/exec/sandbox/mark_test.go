//go:build linux

package sandbox

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Rules belong to a network namespace: that they are in place in one says
// nothing about another.
func TestMarkIsOfTheNetworkNamespace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a network namespace needs root")
	}
	here, err := rulesMark()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{here: true}
	for range 3 {
		err := onOwnThread(func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			there, err := rulesMark()
			if seen[there] {
				t.Errorf("%s is also that of another namespace", there)
			}
			seen[there] = true
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if again, err := rulesMark(); err != nil || again != here {
		t.Errorf("%s was %s: %v", again, here, err)
	}
}
