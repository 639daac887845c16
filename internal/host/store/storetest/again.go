//go:build unix

package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// againEnv is set, to the directory of a PostgreSQL server, in a test process
// whose stores are to be there.
const againEnv = "PENSTOCK_TEST_POSTGRES"

// Where returns where a test has its store whose files are in dir: a file in
// it, or a schema of its own when the test runs on PostgreSQL. It is the same
// for the same directory, also in the processes that the test starts.
func Where(dir string) (string, error) {
	server := os.Getenv(againEnv)
	if server == "" {
		return filepath.Join(dir, "store.sqlite"), nil
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(abs))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return (&Server{Dir: server}).Schema(ctx, "t_"+hex.EncodeToString(sum[:12]))
}

// Again runs those of the package's tests whose names match the pattern once
// more, in a process of their own, with their stores on PostgreSQL. It skips
// when there is none.
func Again(t *testing.T, pattern string) {
	t.Helper()
	if os.Getenv(againEnv) != "" {
		t.Skip("runs on PostgreSQL already")
	}
	s := Postgres(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	args := []string{"-test.run=" + pattern, "-test.v", "-test.timeout=5m"}
	if testing.Short() {
		args = append(args, "-test.short")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), againEnv+"="+s.Dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("on PostgreSQL: %v\n%s", err, out)
	}
	if n := bytes.Count(out, []byte("--- PASS: ")); n == 0 {
		t.Fatalf("no test ran on PostgreSQL:\n%s", out)
	} else {
		t.Logf("%d tests passed on PostgreSQL", n)
	}
}

var one struct {
	sync.Mutex
	*Server
	err error
}

// Postgres returns this process's PostgreSQL server, which the first test that
// asks starts. It ends with the process. The test skips when PostgreSQL is not
// installed.
func Postgres(t *testing.T) *Server {
	t.Helper()
	one.Lock()
	defer one.Unlock()
	if one.Server == nil && one.err == nil {
		one.Server, one.err = Start()
	}
	if errors.Is(one.err, errNone) {
		t.Skip(one.err)
	}
	if one.err != nil {
		t.Fatal(fmt.Errorf("start PostgreSQL: %w", one.err))
	}
	return one.Server
}
