package app

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestServerScripts runs scripts against a server process of their own, which
// listens where PENSTOCK_SERVER says. "answers" waits for it, "appears RUN" for
// a run.
func TestServerScripts(t *testing.T) { testscript.Run(t, serverParams("testdata/server")) }

func serverParams(dir string) testscript.Params {
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
		return os.Mkdir(data, 0o700)
	}
	p.Cmds["answers"] = func(ts *testscript.TestScript, _ bool, _ []string) {
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
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
		for deadline := time.Now().Add(20 * time.Second); ts.Exec("penstock", "ci", "view", args[0]) != nil; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				ts.Fatalf("there is no run %s", args[0])
			}
		}
	}
	return p
}
