package runner

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestALogIsCutAtItsLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "1.log")
	l, err := newStepLog(path, newMasker())
	if err != nil {
		t.Fatal(err)
	}
	l.left = 1000
	for range 1000 {
		l.print("a line of the step")
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if len(b) > 1300 || len(lines) < 10 || !strings.Contains(lines[len(lines)-1], "##[warning]This log is longer") {
		t.Errorf("%d bytes, the last of %d lines is %q", len(b), len(lines), lines[len(lines)-1])
	}
	if n := strings.Count(string(b), "##[warning]"); n != 1 {
		t.Errorf("%d warnings", n)
	}
}
