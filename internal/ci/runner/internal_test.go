package runner

import (
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestSessionsOfDifferentJobsDiffer(t *testing.T) {
	long := strings.Repeat("x", 60)
	seen := map[string]string{}
	for _, job := range []string{"12-build", "12-a_b", "12-a-b", "12-A-b", "12-" + long + "1", "12-" + long + "2", "1-2-build"} {
		id := sessionID(job)
		if other, ok := seen[id]; ok {
			t.Errorf("%s and %s share %s", job, other, id)
		}
		seen[id] = job
		if !regexp.MustCompile(`^[a-z0-9-]{1,40}$`).MatchString(id) {
			t.Errorf("%s: %q", job, id)
		}
	}
	if sessionID("12-build") != "12-build" {
		t.Errorf("%q", sessionID("12-build"))
	}
}

// TestACommandFileThatBecameAPipe does not keep the runner waiting.
func TestACommandFileThatBecameAPipe(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	c, err := newCommandFiles(root)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := c.renew(); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	defer close(stop)
	go func() { // a process of the step that changes the file all the time
		for {
			select {
			case <-stop:
				return
			default:
				_ = os.Remove(c.path(fileOutput))
				_ = syscall.Mkfifo(c.path(fileOutput), 0o600)
				_ = os.Remove(c.path(fileOutput))
				_ = os.WriteFile(c.path(fileOutput), []byte("a=1\n"), 0o600)
			}
		}
	}()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20_000 {
			_, _ = c.read(fileOutput, maxFileCommand)
		}
	}()
	select {
	case <-done:
	case <-time.After(60 * time.Second):
		t.Fatal("the runner waits for a pipe")
	}
}
