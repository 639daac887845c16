package runs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/base/bus"
	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/base/id"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/ci/actions"
	"github.com/penstock-dev/penstock/internal/ci/jobdir"
	"github.com/penstock-dev/penstock/internal/ci/runner"
	"github.com/penstock-dev/penstock/internal/ci/runs"
	"github.com/penstock-dev/penstock/internal/host/blob"
	"github.com/penstock-dev/penstock/internal/host/exec/process"
	"github.com/penstock-dev/penstock/internal/host/store"
	"github.com/penstock-dev/penstock/internal/host/store/storetest"
)

// runnerMode makes this test binary act as `penstock runner`.
const runnerMode = "RUNS_TEST_RUNNER"

func TestMain(m *testing.M) {
	var err error
	switch dir := os.Getenv(serviceMode); {
	case os.Getenv(runnerMode) != "":
		err = beRunner(os.Args)
	case dir != "":
		err = beService(dir)
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func beRunner(args []string) error {
	var dir jobdir.Dir
	var lock *os.File
	var err error
	for i, a := range args {
		switch a {
		case "--job-dir":
			dir = jobdir.Dir(args[i+1])
			lock, err = runner.HoldLock(3)
		case "--standby-fd":
			dir, lock, err = runner.Await(context.Background(), 3)
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	return runner.Run(context.Background(), runner.Options{
		Dir: dir, Lock: lock, Runtime: process.New(log), Actions: actions.New(nil), Log: log,
	})
}

// repository is a real bare repository read with git.
type repository struct{ dir string }

func (r repository) git(args ...string) ([]byte, error) {
	out, err := exec.Command("git", append([]string{"-C", r.dir}, args...)...).Output()
	if err != nil {
		return nil, fmt.Errorf("git %v: %w", args, errors.Join(err, problem.ErrNotFound))
	}
	return out, nil
}

func (r repository) ListFiles(_ context.Context, _, commit, dir string) ([]string, error) {
	out, err := r.git("ls-tree", "--name-only", commit, dir+"/")
	var names []string
	for _, n := range strings.Fields(string(out)) {
		names = append(names, filepath.Base(n))
	}
	return names, err
}

func (r repository) ReadFile(_ context.Context, _, commit, name string) ([]byte, error) {
	return r.git("cat-file", "blob", commit+":"+name)
}

func (r repository) Commit(_ context.Context, _, commit string) (runs.Commit, error) {
	out, err := r.git("log", "-1", "--format=%H%x00%T%x00%an%x00%ae%x00%cn%x00%ce%x00%cI%x00%B", commit)
	f := strings.SplitN(string(out)+strings.Repeat("\x00", 7), "\x00", 8)
	at, _ := time.Parse(time.RFC3339, f[6])
	return runs.Commit{Hash: f[0], Tree: f[1], Author: runs.Person{Name: f[2], Email: f[3]}, Committer: runs.Person{Name: f[4], Email: f[5]}, At: at, Message: strings.TrimRight(f[7], "\x00")}, err
}

func (r repository) DefaultBranch(context.Context, string) (string, error) { return "main", nil }

func (r repository) ChangedPaths(_ context.Context, _, before, after string) ([]string, error) {
	out, err := r.git("diff", "--name-only", before, after)
	return strings.Fields(string(out)), err
}

// tokens counts what was issued and not revoked.
type tokens struct {
	mu    sync.Mutex
	valid map[string]string
	write map[string][]string
}

func newTokens() *tokens { return &tokens{valid: map[string]string{}, write: map[string][]string{}} }

func (k *tokens) IssueJob(_ context.Context, run int64, job string, scope runs.Scope, _ time.Duration) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	name := fmt.Sprintf("%d/%s", run, job)
	k.valid[name], k.write[name] = id.Secret("pjt_"), scope.Write
	return k.valid[name], nil
}

func (k *tokens) RevokeJob(_ context.Context, run int64, job string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.valid, fmt.Sprintf("%d/%s", run, job))
	return nil
}

func (k *tokens) writes(name string) []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.write[name]
}

// noTokens waits a little until every token has been revoked, which happens
// after the end of the job is recorded.
func (h *house) noTokens() {
	h.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		h.tokens.mu.Lock()
		n := len(h.tokens.valid)
		h.tokens.mu.Unlock()
		if n == 0 {
			return
		}
		if time.Now().After(deadline) {
			h.t.Errorf("%d tokens are still valid", n)
			return
		}
	}
}

// house is a service over a real store, a real repository and real runners.
type house struct {
	t       *testing.T
	dir     string
	repo    repository
	db      *store.DB
	blobs   blob.Store
	keep    time.Duration               // of directories
	wrap    func(blob.Store) blob.Store // may be nil
	pushes  *bus.Topic[event.Push]
	tokens  *tokens
	service *runs.Service
	env     []string // of runners
	stop    func()
	pushed  int
	head    string
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir(), pushes: &bus.Topic[event.Push]{}, tokens: newTokens(), head: event.ZeroCommit}
	h.repo = repository{filepath.Join(h.dir, "repo")}
	if err := os.Mkdir(h.repo.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	h.run("init", "-q", "-b", "main")
	h.run("config", "user.name", "t")
	h.run("config", "user.email", "t@example.com")
	h.start()
	t.Cleanup(func() { h.halt() })
	return h
}

func (h *house) run(args ...string) string {
	h.t.Helper()
	out, err := h.repo.git(args...)
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// start opens the store and runs the service.
func (h *house) start() {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	h.open()
	self, err := os.Executable()
	if err != nil {
		h.t.Fatal(err)
	}
	s, err := runs.New(ctx, runs.Options{
		DB: h.db, Dir: filepath.Join(h.dir, "jobs"), Source: h.repo, Tokens: h.tokens, Pushes: h.pushes, ServerURL: "http://penstock.localhost:7080",
		Runner: runs.ProcessRunner{Program: self, Env: append(append(os.Environ(), runnerMode+"=1"), h.env...)},
		Log:    slog.New(slog.NewTextHandler(testWriter{h.t}, nil)),
		Blobs:  h.blobs, KeepDirs: h.keep,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	h.service = s
	h.stop = func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			h.t.Errorf("service ended with %v", err)
		}
		h.close()
	}
}

func (h *house) open() {
	h.t.Helper()
	where, err := storetest.Where(h.dir)
	if err != nil {
		h.t.Fatal(err)
	}
	db, err := store.Open(context.Background(), where)
	if err != nil {
		h.t.Fatal(err)
	}
	h.db = db
	if h.blobs, err = blob.OpenFiles(filepath.Join(h.dir, "blobs")); err != nil {
		h.t.Fatal(err)
	}
	if h.wrap != nil {
		h.blobs = h.wrap(h.blobs)
	}
}

func (h *house) close() {
	h.t.Helper()
	if err := errors.Join(h.db.Close(), h.blobs.Close()); err != nil {
		h.t.Error(err)
	}
}

// awaitLog waits until the log of a run has a line.
func (h *house) awaitLog(run int64, line string) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	found := errors.New("found")
	for {
		err := h.service.Logs(ctx, runs.LogQuery{Run: run, Follow: true}, func(l runs.LogLine) error {
			if strings.HasSuffix(l.Text, " "+line) {
				return found
			}
			return nil
		})
		if errors.Is(err, found) {
			return
		}
		if !errors.Is(err, problem.ErrNotFound) {
			h.t.Fatalf("run %d has no line %q: %v", run, line, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (h *house) halt() {
	if h.stop != nil {
		h.stop()
		h.stop = nil
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// push commits the files and writes the push event.
func (h *house) push(message string, files map[string]string) {
	h.t.Helper()
	for name, text := range files {
		path := filepath.Join(h.repo.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			h.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			h.t.Fatal(err)
		}
	}
	h.run("add", "-A")
	h.run("commit", "-q", "--allow-empty", "-m", message)
	after := h.run("rev-parse", "HEAD")
	h.pushed++
	push := event.Push{ID: fmt.Sprintf("push-%d", h.pushed), Repo: "demo/shop", Actor: "ann", At: time.Now(),
		Updates: []event.RefUpdate{{Ref: "refs/heads/main", Before: h.head, After: after}}}
	h.head = after
	h.publish(push)
}

func (h *house) publish(push event.Push) {
	h.t.Helper()
	err := h.db.Write(context.Background(), func(tx store.Tx) error {
		_, err := store.Append(context.Background(), tx, push.ID, event.TypePush, push.Repo, push.At, push)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.pushes.Publish(push)
}

// wait waits for a run to end.
func (h *house) wait(run int64) runs.Run {
	h.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		r, err := h.service.Get(context.Background(), run)
		if err == nil && r.Status == runs.Completed {
			return r
		}
		if err != nil && !errors.Is(err, problem.ErrNotFound) {
			h.t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	r, err := h.service.Get(context.Background(), run)
	b, _ := json.MarshalIndent(r, "", " ")
	h.t.Fatalf("run %d has not ended: %v\n%s", run, err, b)
	return r
}

// waitHeld waits until a job of the run says why it waits.
func (h *house) waitHeld(run int64) {
	h.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		r, err := h.service.Get(context.Background(), run)
		if err == nil && len(r.Jobs) > 0 && r.Jobs[0].Message != "" {
			return
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("no job of run %d waits: %v", run, err)
		}
	}
}

// logs returns the log of a run without times, "job/step text" a line.
func (h *house) logs(q runs.LogQuery) string {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var b strings.Builder
	err := h.service.Logs(ctx, q, func(l runs.LogLine) error {
		_, text, _ := strings.Cut(l.Text, " ")
		fmt.Fprintf(&b, "%s/%d %s\n", l.Job, l.Step, text)
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return b.String()
}

func TestPushRunsTheWorkflow(t *testing.T) {
	h := newHouse(t)
	h.push("First\n\nbody", map[string]string{".github/workflows/ci.yml": `
name: CI
on:
  push:
    branches: [main]
permissions:
  contents: write
env:
  WHO: ${{ github.actor }}
jobs:
  test:
    runs-on: ubuntu-latest
    outputs:
      answer: ${{ steps.calc.outputs.answer }}
    steps:
      - run: echo "hello $WHO on $GITHUB_REF_NAME run $GITHUB_RUN_NUMBER"
      - id: calc
        run: |
          echo "answer=$((6 * 7))" >> "$GITHUB_OUTPUT"
          echo "LATER=yes" >> $GITHUB_ENV
      - if: github.ref_name == github.event.repository.default_branch
        run: echo "by ${{ github.event.head_commit.author.email }}, ${{ github.event.head_commit.message == 'First' }}"
      - run: echo "token is ${{ github.token }}, later is $LATER"
  deploy:
    needs: test
    runs-on: ubuntu-latest
    steps:
      - run: echo "answer ${{ needs.test.outputs.answer }}"
  never:
    needs: test
    if: github.ref == 'refs/heads/other'
    runs-on: ubuntu-latest
    steps:
      - run: exit 1
`})
	r := h.wait(1)
	log := h.logs(runs.LogQuery{Run: 1})
	if r.Conclusion != "success" || r.Title != "First" || r.Workflow != "CI" {
		t.Errorf("run: %+v\n%s", r, log)
	}
	for _, want := range []string{"test/2 hello ann on main run 1\n", "test/4 by t@example.com, false\n", "test/5 token is ***, later is yes\n", "deploy/2 answer 42\n"} {
		if !strings.Contains(log, want) {
			t.Errorf("log lacks %q:\n%s", want, log)
		}
	}
	never := r.Jobs[2]
	if never.Conclusion != "skipped" || !strings.Contains(never.Message, "github.ref == 'refs/heads/other'") {
		t.Errorf("job never: %+v", never)
	}
	h.noTokens()
	if w := h.tokens.writes("1/test"); len(w) != 1 || w[0] != "demo/*" {
		t.Errorf("token writes %v", w)
	}
}

func TestPushesThatStartNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		message, on string
		runs        int
	}{
		"matching":      {"x", "push", 1},
		"other branch":  {"x", "{push: {branches: [other]}}", 0},
		"other event":   {"x", "workflow_dispatch", 0},
		"skip ci":       {"x [skip ci]", "push", 0},
		"skip trailer":  {"x\n\nskip-checks: true", "push", 0},
		"skip in prose": {"do not skip ci", "push", 1},
		"other paths":   {"x", "{push: {paths: ['docs/**']}}", 1}, // the branch is new: nothing to compare with
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			h.push(tc.message, map[string]string{".github/workflows/ci.yml": "on: " + tc.on + "\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: 'true'}]}}\n"})
			h.push("second", map[string]string{".github/workflows/ci.yml": "on: push\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: 'true'}]}}\n"})
			r := h.wait(int64(tc.runs + 1))
			if r.Title != "second" {
				t.Errorf("run %d is of %q: the first push started other than %d runs", r.ID, r.Title, tc.runs)
			}
		})
	}
}

func TestPathFilterComparesWithTheCommitBefore(t *testing.T) {
	h := newHouse(t)
	workflow := "on: {push: {paths: ['docs/**']}}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: 'true'}]}}\n"
	h.push("one", map[string]string{".github/workflows/ci.yml": workflow})
	h.push("code", map[string]string{"main.go": "x"})
	h.push("docs", map[string]string{"docs/a.md": "x"})
	if r := h.wait(2); r.Title != "docs" {
		t.Errorf("second run is of %q", r.Title)
	}
}

func TestFaultyWorkflowIsAFailedRun(t *testing.T) {
	h := newHouse(t)
	h.push("x", map[string]string{".github/workflows/ci.yml": "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    strategy: {}\n    steps: [{runn: x}]\n"})
	r := h.wait(1)
	if r.Conclusion != "startup_failure" || !strings.Contains(r.Message, ".github/workflows/ci.yml:5:5: 'strategy' is not supported yet") || !strings.Contains(r.Message, "ci.yml:6:14: unexpected key 'runn'") {
		t.Errorf("%+v", r)
	}
	if n := len(h.finishedEvents()); n != 1 {
		t.Errorf("%d events that the run ended", n)
	}
}

// TestSamePushTwice: an event that is delivered again starts nothing.
func TestSamePushTwice(t *testing.T) {
	h := newHouse(t)
	h.push("x", map[string]string{".github/workflows/ci.yml": "on: push\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: 'true'}]}}\n"})
	h.wait(1)
	err := h.db.Write(context.Background(), func(tx store.Tx) error { return store.SetCursor(context.Background(), tx, "ci.runs", 0) })
	if err != nil {
		t.Fatal(err)
	}
	h.push("y", nil)
	if r := h.wait(2); r.Title != "y" || r.Number != 2 {
		t.Errorf("%+v", r)
	}
}

func TestCancelRun(t *testing.T) {
	h := newHouse(t)
	h.push("x", map[string]string{".github/workflows/ci.yml": `
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: echo began; sleep 60
  b: {needs: a, runs-on: ubuntu-latest, steps: [{run: 'true'}]}
  c: {needs: a, if: always(), runs-on: ubuntu-latest, steps: [{run: echo cleaning}]}
`})
	h.awaitLog(1, "began")
	if err := h.service.Cancel(context.Background(), 1); err != nil {
		t.Fatal(err)
	}
	r := h.wait(1)
	var got []string
	for _, j := range r.Jobs {
		got = append(got, j.Key+" "+j.Conclusion)
	}
	if strings.Join(got, ", ") != "a cancelled, b cancelled, c success" || r.Conclusion != "cancelled" {
		t.Errorf("%v, run %s", got, r.Conclusion)
	}
	if err := h.service.Cancel(context.Background(), 1); !errors.Is(err, problem.ErrInvalid) {
		t.Errorf("cancelling a run that ended: %v", err)
	}
	if err := h.service.Cancel(context.Background(), 99); !errors.Is(err, problem.ErrNotFound) {
		t.Errorf("cancelling a run that is not there: %v", err)
	}
}

func TestJobWaitsForALabelNobodyHas(t *testing.T) {
	h := newHouse(t)
	h.push("x", map[string]string{".github/workflows/ci.yml": "on: push\njobs: {a: {runs-on: windows-latest, steps: [{run: 'true'}]}}\n"})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		r, err := h.service.Get(context.Background(), 1)
		if err == nil && strings.Contains(r.Jobs[0].Message, "label 'windows-latest'") {
			if r.Status != runs.Queued {
				t.Errorf("run is %s", r.Status)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	if err := h.service.Cancel(context.Background(), 1); err != nil {
		t.Fatal(err)
	}
	if r := h.wait(1); r.Conclusion != "cancelled" {
		t.Errorf("%+v", r)
	}
}

// TestPlaces: no more jobs run at once than there are places, and all do run.
func TestPlaces(t *testing.T) {
	h := newHouse(t)
	file := filepath.Join(h.dir, "effects")
	var b strings.Builder
	b.WriteString("on: push\njobs:\n")
	for i := range 6 {
		fmt.Fprintf(&b, "  j%d: {runs-on: ubuntu-latest, steps: [{run: 'echo + >> %s; sleep 0.1; echo - >> %s'}]}\n", i, file, file)
	}
	h.push("x", map[string]string{".github/workflows/ci.yml": b.String()})
	if r := h.wait(1); r.Conclusion != "success" {
		t.Errorf("%+v", r)
	}
	now, most := 0, 0
	for _, mark := range readLines(t, file) {
		if mark == "+" {
			now++
		} else {
			now--
		}
		most = max(most, now)
	}
	if most != 2 || now != 0 {
		t.Errorf("%d jobs at once, %d left; want 2 and 0", most, now)
	}
}

// TestRunOfAWorkflowThatIsNotReadAnyMore ends, instead of being tried for ever.
func TestRunOfAWorkflowThatIsNotReadAnyMore(t *testing.T) {
	h := newHouse(t)
	h.push("x", map[string]string{".github/workflows/ci.yml": "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps: [{run: echo began; sleep 0.5}]\n  b: {needs: a, runs-on: ubuntu-latest, steps: [{run: 'true'}]}\n"})
	h.awaitLog(1, "began")
	err := h.db.Write(context.Background(), func(tx store.Tx) error {
		_, err := tx.ExecContext(context.Background(), `UPDATE runs SET source = 'on: push'`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	r := h.wait(1)
	if r.Conclusion != "failure" || r.Jobs[0].Conclusion != "success" || !strings.Contains(r.Jobs[1].Message, "cannot read the workflow of the run: .github/workflows/ci.yml:1:1: required key 'jobs' is missing") {
		t.Errorf("%+v", r)
	}
}

// TestJobThatCannotBeStarted fails with the reason and leaves no token.
func TestJobThatCannotBeStarted(t *testing.T) {
	h := newHouse(t)
	h.service.Runner = runs.ProcessRunner{Program: "/nonexistent/penstock"}
	h.push("x", map[string]string{".github/workflows/ci.yml": "on: push\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: 'true'}]}}\n"})
	r := h.wait(1)
	if r.Conclusion != "failure" || !strings.Contains(r.Jobs[0].Message, "the job could not be started: start runner: /nonexistent/penstock") {
		t.Errorf("%+v", r)
	}
	gone(t, filepath.Join(h.dir, "jobs", "*", "secrets.json"))
	h.noTokens()
}

// TestAnnotatedTag: the run is of the commit that the tag names.
func TestAnnotatedTag(t *testing.T) {
	h := newHouse(t)
	h.push("x [skip ci]", map[string]string{".github/workflows/ci.yml": "on: push\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: 'echo $GITHUB_SHA $GITHUB_REF_TYPE $GITHUB_REF_NAME'}]}}\n"})
	h.run("commit", "-q", "--allow-empty", "-m", "y")
	h.run("tag", "-a", "-m", "release", "v1")
	tag, commit := h.run("rev-parse", "v1"), h.run("rev-parse", "v1^{commit}")
	h.publish(event.Push{ID: "tag", Repo: "demo/shop", Actor: "ann", At: time.Now(), Updates: []event.RefUpdate{{Ref: "refs/tags/v1", Before: event.ZeroCommit, After: tag}}})
	r := h.wait(1)
	if log := h.logs(runs.LogQuery{Run: 1}); r.SHA != commit || !strings.Contains(log, "a/2 "+commit+" tag v1\n") {
		t.Errorf("%+v\n%s", r, log)
	}
}
