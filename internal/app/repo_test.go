package app

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/penstock-dev/penstock/internal/host/store/storetest"
)

// TestServerScripts runs scripts against a server process of their own, which
// listens where PENSTOCK_SERVER says. "answers" waits for it, "appears RUN" for
// a run, "says RUN LINE" for a line of its log.
func TestServerScripts(t *testing.T) {
	testscript.Run(t, serverParams("testdata/server"))
}

// scriptSchemas counts them, over all times that the test runs.
var scriptSchemas atomic.Int64

// TestServerScriptsOnPostgres runs the same with the store in PostgreSQL.
func TestServerScriptsOnPostgres(t *testing.T) {
	server := storetest.Postgres(t)
	testscript.Run(t, serverParams("testdata/server", func(e *testscript.Env) error {
		where, err := server.Schema(t.Context(), fmt.Sprintf("script%d", scriptSchemas.Add(1)))
		e.Setenv(databaseEnv, where)
		return err
	}))
}

// serverParams are those of the scripts that have a server. setup adds to
// their environment.
func serverParams(dir string, setup ...func(e *testscript.Env) error) testscript.Params {
	p := params(dir)
	p.Setup = func(e *testscript.Env) error {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close()
		e.Setenv("LISTEN", l.Addr().String())
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			return err
		}
		data := filepath.Join(e.WorkDir, "data dir")
		e.Setenv("PENSTOCK_DATA_DIR", data)
		e.Setenv("PENSTOCK_SERVER", "http://penstock.localhost:"+port)
		e.Setenv("HOME", e.WorkDir)
		e.Setenv("GIT_CONFIG_NOSYSTEM", "1")
		e.Setenv("GIT_TERMINAL_PROMPT", "0")
		for _, who := range []string{"AUTHOR", "COMMITTER"} {
			e.Setenv("GIT_"+who+"_NAME", "Ann")
			e.Setenv("GIT_"+who+"_EMAIL", "ann@example.com")
		}
		err = os.Mkdir(data, 0o700)
		for _, s := range setup {
			err = errors.Join(err, s(e))
		}
		return err
	}
	p.Cmds["answers"] = func(ts *testscript.TestScript, _ bool, _ []string) {
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			resp, err := http.Get("http://" + ts.Getenv("LISTEN") + "/livez")
			if err == nil {
				resp.Body.Close()
				return
			}
			if time.Now().After(deadline) {
				ts.Fatalf("the server does not answer on %s: %v", ts.Getenv("LISTEN"), err)
			}
		}
	}
	p.Cmds["appears"] = func(ts *testscript.TestScript, _ bool, args []string) {
		for deadline := time.Now().Add(time.Minute); ts.Exec("penstock", "ci", "view", args[0]) != nil; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				ts.Fatalf("there is no run %s", args[0])
			}
		}
	}
	p.Cmds["says"] = func(ts *testscript.TestScript, _ bool, args []string) {
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			if ts.Exec("penstock", "ci", "logs", args[0]) == nil && slices.Contains(strings.Split(ts.ReadFile("stdout"), "\n"), args[1]) {
				return
			}
			if time.Now().After(deadline) {
				ts.Fatalf("the log of run %s does not say %q", args[0], args[1])
			}
		}
	}
	return p
}
