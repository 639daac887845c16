package runner_test

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/ci/actions"
	"github.com/penstock-dev/penstock/internal/ci/jobdir"
	"github.com/penstock-dev/penstock/internal/ci/runner"
	"github.com/penstock-dev/penstock/internal/ci/workflow"
	"github.com/penstock-dev/penstock/internal/host/git"
	"github.com/penstock-dev/penstock/internal/host/identity"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// forge is a real Git host with one repository, demo/shop.
type forge struct {
	t      *testing.T
	url    string
	clone  string // a working copy with the admin's rights
	keeper *identity.Keeper
	repos  *git.Server

	actions actions.Builder
}

func newForge(t *testing.T) *forge {
	t.Helper()
	ctx := context.Background()
	dir := t.TempDir()
	db, err := store.Open(ctx, filepath.Join(dir, "store.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	keeper, err := identity.New(ctx, identity.Options{DB: db, TokenFile: filepath.Join(dir, "admin.token")})
	if err != nil {
		t.Fatal(err)
	}
	repos, err := git.New(ctx, git.Options{Root: filepath.Join(dir, "git"), DB: db, Access: keeper})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(repos)
	t.Cleanup(server.Close)
	f := &forge{t: t, url: server.URL, clone: filepath.Join(dir, "clone"), keeper: keeper, repos: repos}
	admin, err := os.ReadFile(filepath.Join(dir, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"demo/shop", "demo/other", "secret/thing"} {
		if _, err := repos.Create(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(f.clone, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{
		"init -q -b main", "config user.name t", "config user.email t@example.com",
		"remote add origin " + strings.Replace(f.url, "://", "://admin:"+strings.TrimSpace(string(admin))+"@", 1) + "/git/demo/shop.git",
		"remote add other " + strings.Replace(f.url, "://", "://admin:"+strings.TrimSpace(string(admin))+"@", 1) + "/git/demo/other.git",
		"remote add secret " + strings.Replace(f.url, "://", "://admin:"+strings.TrimSpace(string(admin))+"@", 1) + "/git/secret/thing.git",
	} {
		f.git(strings.Fields(c)...)
	}
	return f
}

func (f *forge) git(args ...string) string {
	f.t.Helper()
	c := exec.Command("git", append([]string{"-C", f.clone}, args...)...)
	c.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null")
	out, err := c.CombinedOutput()
	if err != nil {
		f.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (f *forge) commit(text string) string {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.clone, "file"), []byte(text+"\n"), 0o644); err != nil {
		f.t.Fatal(err)
	}
	f.git("add", "-A")
	f.git("commit", "-q", "-m", text)
	return f.git("rev-parse", "HEAD")
}

// run runs a job for the commit on a ref, with a token that may write demo/*.
func (f *forge) run(ref, sha, steps string) result {
	f.t.Helper()
	ctx := context.Background()
	token, err := f.keeper.Issue(ctx, identity.Job{Run: 1, Job: "a"}, identity.Scope{Write: []string{"demo/*"}}, time.Hour)
	if err != nil {
		f.t.Fatal(err)
	}
	w, findings := workflow.Parse("f.yml", []byte(job(steps)))
	if w == nil {
		f.t.Fatal(findings)
	}
	github, err := json.Marshal(map[string]any{"repository": "demo/shop", "ref": ref, "sha": sha})
	if err != nil {
		f.t.Fatal(err)
	}
	dir := jobdir.Dir(filepath.Join(f.t.TempDir(), "job"))
	if _, err := dir.Lock(); err != nil {
		f.t.Fatal(err)
	}
	spec := jobdir.Spec{JobID: "checkout-" + filepath.Base(filepath.Dir(string(dir))), Repo: "demo/shop", Job: w.Job("a"), TimeoutMinutes: 1, ServerURL: f.url, GitHub: github}
	if err := dir.Prepare(spec, jobdir.Secrets{Token: token}); err != nil {
		f.t.Fatal(err)
	}
	o := options(dir)
	o.Actions = actions.New(f.actions)
	if err := runner.Run(ctx, o); err != nil {
		f.t.Fatal(err)
	}
	r := collect(f.t, dir)
	if strings.Contains(r.log, token) || strings.Contains(r.log, "AUTHORIZATION: basic e") {
		f.t.Errorf("the log shows the token:\n%s", r.log)
	}
	return r
}

func TestCheckout(t *testing.T) {
	f := newForge(t)
	f.commit("one")
	f.git("tag", "v1")
	second := f.commit("two")
	f.git("push", "-q", "origin", "main", "v1")
	third := f.commit("three") // the branch has moved on since the event
	f.git("push", "-q", "origin", "main", "main:topic/x")
	f.git("push", "-q", "other", "v1^{}:refs/heads/main")
	f.git("push", "-q", "secret", "main")
	for name, tc := range map[string]struct {
		ref, steps string
		want       []string
		fails      bool
	}{
		"commit of the event": {steps: "      - uses: actions/checkout@v4\n        id: c\n      - run: cat file; git rev-list --count HEAD; git branch --show-current; echo ${{ steps.c.outputs.commit }}\n",
			want: []string{"two", "1", "main", second}},
		"all history, branch moved": {steps: "      - uses: actions/checkout@v4\n        with: {fetch-depth: 0}\n      - run: cat file; git rev-list --count HEAD; git tag; git branch -r\n",
			want: []string{"two", "2", "v1", "  origin/topic/x"}},
		"tag of the event": {ref: "refs/tags/v1", steps: "      - uses: actions/checkout@v4\n      - run: git describe --tags --always\n", want: []string{"v1"}},
		"branch by name":   {steps: "      - uses: actions/checkout@v3\n        with: {ref: topic/x}\n      - run: cat file; git branch --show-current\n", want: []string{"three", "topic/x"}},
		"tag by name":      {steps: "      - uses: actions/checkout@v5\n        with: {ref: v1}\n      - run: cat file\n", want: []string{"one"}},
		"full ref":         {steps: "      - uses: actions/checkout@v4\n        with: {ref: refs/heads/topic/x}\n      - run: cat file\n", want: []string{"three"}},
		"commit by hash":   {steps: "      - uses: actions/checkout@v4\n        with: {ref: " + third + "}\n      - run: git rev-parse HEAD\n", want: []string{third}},
		"other repository": {steps: "      - uses: actions/checkout@v4\n        with: {repository: demo/other, path: sub/o}\n      - run: cat sub/o/file\n", want: []string{"one"}},
		"two repositories, push to one": {steps: `
      - uses: actions/checkout@v4
      - uses: actions/checkout@v4
        with: {repository: demo/other, path: other}
      - working-directory: other
        run: |
          git config user.name ci
          git config user.email ci@example.com
          git commit -q --allow-empty -m "by the job"
          git push -q origin HEAD:by-job
          git ls-remote origin by-job | cut -f2
`, want: []string{"refs/heads/by-job"}},
		"credentials do not persist":  {steps: "      - uses: actions/checkout@v4\n        with: {persist-credentials: false}\n      - run: git -c credential.helper= ls-remote origin && echo could || echo could not; ls $RUNNER_TEMP\n        env: {GIT_TERMINAL_PROMPT: 0}\n", want: []string{"could not"}},
		"again into the same place":   {steps: "      - uses: actions/checkout@v4\n      - run: echo dirt > file; echo x > extra\n      - uses: actions/checkout@v4\n      - run: cat file; ls\n", want: []string{"two", "file"}},
		"replaces what was there":     {steps: "      - run: mkdir -p sub/deep; ln -s /etc sub/link\n      - uses: actions/checkout@v4\n        with: {path: sub}\n      - run: ls -A sub; ls /etc/passwd\n", want: []string{".git", "file", "/etc/passwd"}},
		"repository of another owner": {steps: "      - uses: actions/checkout@v4\n        with: {repository: secret/thing}\n", fails: true},
		"missing ref":                 {steps: "      - uses: actions/checkout@v4\n        with: {ref: nope}\n", fails: true, want: []string{"##[error]A branch or tag with the name 'nope' could not be found"}},
		"path outside":                {steps: "      - uses: actions/checkout@v4\n        with: {path: ../x}\n", fails: true},
		"path through a link":         {steps: "      - run: ln -s /tmp out\n      - uses: actions/checkout@v4\n        with: {path: out/penstock-checkout-test}\n", fails: true},
		"submodules are refused":      {steps: "      - uses: actions/checkout@v4\n        with: {submodules: true}\n", fails: true},
		"unknown input warns":         {steps: "      - uses: actions/checkout@v4\n        with: {fetch-dept: 0}\n      - run: cat file\n", want: []string{"two"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := *f
			f.t = t
			ref := tc.ref
			if ref == "" {
				ref = "refs/heads/main"
			}
			r := f.run(ref, second, tc.steps)
			if (r.end.Conclusion == "failure") != tc.fails {
				t.Errorf("job ended as %s", r.end.Conclusion)
			}
			for _, line := range tc.want {
				if !strings.Contains("\n"+r.log, "\n"+line+"\n") {
					t.Errorf("no line %q", line)
				}
			}
			if t.Failed() {
				t.Logf("log:\n%s", r.log)
			}
		})
	}
	if _, err := os.Stat("/tmp/penstock-checkout-test"); err == nil {
		t.Error("checkout left the workspace")
	}
}
