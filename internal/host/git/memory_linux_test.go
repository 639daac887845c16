package git_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestGitRunsUnderAMemoryLimit looks at the processes of a push in progress.
func TestGitRunsUnderAMemoryLimit(t *testing.T) {
	h := start(t, t.TempDir())
	h.create("demo/shop")
	defer halfPush(t, strings.TrimSuffix(h.url, "/git/"), work(t, map[string]string{"a": "1"}), "demo/shop")()
	want := map[string]bool{"git-http-backen": false, "git": false} // as the kernel cuts names
	for deadline := time.Now().Add(10 * time.Second); !want["git-http-backen"] || !want["git"]; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("git processes with their limit: %v", want)
		}
		pids, err := filepath.Glob("/proc/[0-9]*")
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pids {
			dir, _ := os.Readlink(filepath.Join(p, "cwd"))
			comm, _ := os.ReadFile(filepath.Join(p, "comm"))
			limits, _ := os.ReadFile(filepath.Join(p, "limits"))
			name := strings.TrimSpace(string(comm))
			if _, ours := want[name]; ours && strings.HasPrefix(dir, h.dir) && strings.Contains(string(limits), fmt.Sprintf("Max data size             %d", 2<<30)) {
				want[name] = true
			}
		}
	}
}
