package git_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/base/failpoint"
	"github.com/penstock-dev/penstock/internal/host/git"
	"github.com/penstock-dev/penstock/internal/host/store"
	"github.com/penstock-dev/penstock/internal/host/store/storetest"
)

const childEnv = "GIT_TEST_SERVE"

// TestMain lets this binary be the server that dies.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child serves dir until it is killed. DELETE and PUT of /name delete and
// create a repository, which git itself has no request for.
func child(dir string) error {
	ctx := context.Background()
	where, err := storetest.Where(dir)
	if err != nil {
		return err
	}
	db, err := store.Open(ctx, where)
	if err != nil {
		return err
	}
	s, err := git.New(ctx, git.Options{Root: filepath.Join(dir, "git"), DB: db, Access: access{}, URLs: []string{"http://x/git/"}})
	if err != nil {
		return err
	}
	go func() { _ = s.Run(ctx) }()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, "/")
		var err error
		switch r.Method {
		case http.MethodPut:
			_, err = s.Create(r.Context(), name)
		case http.MethodDelete:
			err = s.Delete(r.Context(), name)
		default:
			s.ServeHTTP(w, r)
			return
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
}

// victim is a server in a process of its own.
type victim struct {
	cmd *exec.Cmd
	url string // with credentials, ends in "/"
}

func startVictim(t *testing.T, dir, point string) *victim {
	t.Helper()
	v := &victim{cmd: exec.Command(os.Args[0])}
	v.cmd.Env = append(os.Environ(), childEnv+"="+dir, failpoint.Env+"="+point)
	v.cmd.Stderr = os.Stderr
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.kill() })
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("server did not start: %v", err)
	}
	v.url = "http://u:all@" + strings.TrimSpace(addr) + "/"
	return v
}

func (v *victim) kill() {
	_ = v.cmd.Process.Kill()
	_ = v.cmd.Wait()
}

// died waits for the failpoint to do its work.
func (v *victim) died(t *testing.T) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- v.cmd.Wait() }()
	select {
	case err := <-done:
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("the server ended with %v, not by the failpoint", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the server did not reach the failpoint")
	}
}

func request(t *testing.T, method, url string) error {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// logged reads the push events of a server that is not running.
func logged(t *testing.T, dir string) []event.Push {
	t.Helper()
	where, err := storetest.Where(dir)
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.Context(), where)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	return (&host{t: t, db: db}).events()
}

// TestAKilledServerLosesNoPushAndDoublesNone kills the server at each point of
// recording a push and lets a new one start.
func TestAKilledServerLosesNoPushAndDoublesNone(t *testing.T) {
	for _, point := range []string{"git.record.before", "git.record.after"} {
		t.Run(point, func(t *testing.T) {
			dir := t.TempDir()
			v := startVictim(t, dir, "")
			if err := request(t, http.MethodPut, v.url+"demo/shop"); err != nil {
				t.Fatal(err)
			}
			w := work(t, map[string]string{"a": "1"})
			first := run(t, w, "rev-parse", "HEAD")
			run(t, w, "push", "-q", v.url+"git/demo/shop.git", "main")
			v.kill()

			v = startVictim(t, dir, point)
			second := commit(t, w, map[string]string{"a": "2"})
			if out, err := client(t, w, "push", v.url+"git/demo/shop.git", "main", "main:dev"); err == nil {
				t.Fatalf("the push succeeded:\n%s", out)
			}
			v.died(t)

			want := []event.Push{
				{Repo: "demo/shop", Actor: "ann", Updates: []event.RefUpdate{{Ref: "refs/heads/main", Before: zero, After: first}}},
				{Repo: "demo/shop", Actor: "ann", Updates: []event.RefUpdate{
					{Ref: "refs/heads/dev", Before: zero, After: second},
					{Ref: "refs/heads/main", Before: first, After: second},
				}},
			}
			check := func(when string) {
				t.Helper()
				ignore := cmpopts.IgnoreFields(event.Push{}, "ID", "At")
				if diff := cmp.Diff(want, logged(t, dir), ignore); diff != "" {
					t.Errorf("%s (-want +got):\n%s", when, diff)
				}
			}
			v = startVictim(t, dir, "") // records before it listens
			v.kill()
			check("after the next start")
			v = startVictim(t, dir, "")
			if out := run(t, w, "push", v.url+"git/demo/shop.git", "main", "main:dev"); !strings.Contains(out, "up-to-date") {
				t.Errorf("the user's second try says %s", out)
			}
			v.kill()
			check("after the second try")
		})
	}
}

// TestAKilledServerLeavesRepositoriesWholeOrNotAtAll kills the server at each
// point of creating and deleting one.
func TestAKilledServerLeavesRepositoriesWholeOrNotAtAll(t *testing.T) {
	for point, there := range map[string]bool{
		"git.create.before": false,
		"git.create.after":  true,
		"git.delete.before": true,
		"git.delete.after":  false,
	} {
		t.Run(point, func(t *testing.T) {
			dir := t.TempDir()
			method := http.MethodPut
			if strings.Contains(point, "delete") {
				method = http.MethodDelete
				v := startVictim(t, dir, "")
				if err := request(t, http.MethodPut, v.url+"demo/shop"); err != nil {
					t.Fatal(err)
				}
				run(t, work(t, map[string]string{"a": "1"}), "push", "-q", v.url+"git/demo/shop.git", "main")
				v.kill()
			}
			v := startVictim(t, dir, point)
			if err := request(t, method, v.url+"demo/shop"); err == nil {
				t.Fatal("the request succeeded")
			}
			v.died(t)
			events := len(logged(t, dir))

			v = startVictim(t, dir, "")
			left, err := filepath.Glob(filepath.Join(dir, "git", ".[^h]*")) // .hooks stays
			if err != nil || len(left) != 0 {
				t.Errorf("left %v, %v", left, err)
			}
			if !there {
				if err := request(t, http.MethodPut, v.url+"demo/shop"); err != nil {
					t.Errorf("create again: %v", err)
				}
			}
			w := work(t, map[string]string{"b": "2"})
			run(t, w, "push", "-q", "--force", v.url+"git/demo/shop.git", "main")
			v.kill()
			if n := len(logged(t, dir)); n != events+1 {
				t.Errorf("%d events, want %d", n, events+1)
			}
		})
	}
}

// TestAGitThatOutlivesItsServerIsWaitedFor stands for a receive-pack that goes
// on after its server was killed: refs it moves later are recorded too.
func TestAGitThatOutlivesItsServerIsWaitedFor(t *testing.T) {
	dir := t.TempDir()
	v := startVictim(t, dir, "")
	if err := request(t, http.MethodPut, v.url+"demo/shop"); err != nil {
		t.Fatal(err)
	}
	w := work(t, map[string]string{"a": "1"})
	head := run(t, w, "rev-parse", "HEAD")
	run(t, w, "push", "-q", v.url+"git/demo/shop.git", "main")
	v.kill()

	repo := filepath.Join(dir, "git", "demo", "shop.git")
	f, err := os.OpenFile(filepath.Join(repo, "penstock.lock"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	lock := filepath.Join(repo, "refs", "heads", "held.lock")
	if err := os.WriteFile(lock, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	h := start(t, dir)
	if n := len(h.events()); n != 1 {
		t.Fatalf("%d events at start, want 1", n)
	}
	if _, err := os.Stat(lock); err != nil {
		t.Errorf("the lock of a git at work: %v", err)
	}
	run(t, repo, "update-ref", "refs/heads/late", head)
	f.Close() // the straggler ends
	deadline := time.Now().Add(20 * time.Second)
	for len(h.events()) < 2 && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	got := h.events()
	want := []event.RefUpdate{{Ref: "refs/heads/late", Before: zero, After: head}}
	if len(got) != 2 || !cmp.Equal(got[1].Updates, want) || got[1].Actor != "unknown" {
		t.Fatalf("events %+v, want a second of unknown with %+v", got, want)
	}
	for { // its lock file goes as well, in the same turn
		if _, err := os.Stat(lock); errors.Is(err, os.ErrNotExist) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the stale lock is still there")
		}
		time.Sleep(20 * time.Millisecond)
	}
	run(t, w, "push", "-q", h.url+"demo/shop.git", "main:held")
}

// TestAPushCutOffByAKillLeavesNothing kills the server in the middle of an
// upload.
func TestAPushCutOffByAKillLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	v := startVictim(t, dir, "")
	if err := request(t, http.MethodPut, v.url+"demo/shop"); err != nil {
		t.Fatal(err)
	}
	w := work(t, map[string]string{"a": "1"})
	stop := halfPush(t, strings.TrimSuffix(v.url, "/"), w, "demo/shop")
	defer stop()
	objects := filepath.Join(dir, "git", "demo", "shop.git", "objects")
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if tmp, _ := filepath.Glob(filepath.Join(objects, "tmp_objdir-*")); len(tmp) > 0 {
			break // git is at work on it
		}
		if time.Now().After(deadline) {
			t.Fatal("git did not begin with the push")
		}
	}
	v.kill()
	v = startVictim(t, dir, "")
	if tmp, _ := filepath.Glob(filepath.Join(objects, "tmp_objdir-*")); len(tmp) > 0 {
		t.Errorf("left %v", tmp)
	}
	run(t, w, "push", "-q", v.url+"git/demo/shop.git", "main")
	v.kill()
	if n := len(logged(t, dir)); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}
