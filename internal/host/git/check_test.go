package git_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/git"
)

// checks is a git.Check made of a function that can be changed.
type checks struct {
	mu   sync.Mutex
	look func(ctx context.Context, p git.Incoming) ([]git.Refusal, error)
	seen []git.Incoming
}

func (c *checks) set(look func(ctx context.Context, p git.Incoming) ([]git.Refusal, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look = look
}

func (c *checks) CheckPush(ctx context.Context, p git.Incoming) ([]git.Refusal, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, p)
	if c.look == nil {
		return nil, nil
	}
	return c.look(ctx, p)
}

func TestProtectedBranch(t *testing.T) {
	h := start(t, t.TempDir())
	url := h.create("demo/shop")
	w := work(t, map[string]string{"a": "1"})
	first := run(t, w, "rev-parse", "HEAD")
	run(t, w, "push", "-q", url, "main", "main:side", "main:release/1")
	before := len(h.events())
	for _, r := range []git.Rule{{Pattern: "main", Linear: true}, {Pattern: "release/*", Push: []string{"bob"}}} {
		if err := h.Protect(t.Context(), "demo/shop", r); err != nil {
			t.Fatal(err)
		}
	}

	run(t, w, "commit", "-q", "--amend", "--allow-empty", "-m", "rewritten")
	out, err := client(t, w, "push", "-f", url, "main", "main:side")
	if err == nil || !strings.Contains(out, "! [remote rejected] main -> main (protected branch)") || !strings.Contains(out, "remote: error: main is protected: its history cannot be rewritten.") {
		t.Errorf("%v\n%s", err, out)
	}
	if !strings.Contains(out, "main -> side (forced update)") {
		t.Errorf("the other ref did not pass:\n%s", out)
	}
	// With --atomic all or nothing.
	commit(t, w, map[string]string{"a": "2"})
	fails(t, "(protected branch)", w, "push", "-f", "--atomic", url, "main", "main:side")
	fails(t, "[remote rejected] release/1 (protected branch)", w, "push", url, ":release/1")
	fails(t, "only bob may push", w, "push", url, "main:release/2")
	if got := len(h.events()) - before; got != 1 {
		t.Errorf("%d events, want the one of side", got)
	}
	if out := run(t, w, "ls-remote", url, "main"); !strings.HasPrefix(out, first) {
		t.Errorf("main is %s", out)
	}

	// A merge is refused, the same change rebased is not.
	run(t, w, "reset", "-q", "--hard", first)
	commit(t, w, map[string]string{"b": "1"})
	run(t, w, "checkout", "-q", "-b", "topic", first)
	commit(t, w, map[string]string{"c": "1"})
	run(t, w, "checkout", "-q", "main")
	run(t, w, "merge", "-q", "--no-edit", "topic")
	fails(t, "must have a linear history", w, "push", url, "main")
	run(t, w, "reset", "-q", "--hard", "HEAD^")
	run(t, w, "push", "-q", url, "main")

	rules, err := h.Rules(t.Context(), "demo/shop")
	if err != nil || len(rules) != 2 || rules[0].Pattern != "main" || !rules[0].Linear {
		t.Errorf("%+v %v", rules, err)
	}
	if err := h.Unprotect(t.Context(), "demo/shop", "release/*"); err != nil {
		t.Fatal(err)
	}
	if err := h.Unprotect(t.Context(), "demo/shop", "release/*"); !errors.Is(err, problem.ErrNotFound) {
		t.Error(err)
	}
	run(t, w, "push", "-q", url, ":release/1")
	// A repository that is made anew begins without rules.
	if err := h.Delete(t.Context(), "demo/shop"); err != nil {
		t.Fatal(err)
	}
	h.create("demo/shop")
	if rules, err := h.Rules(t.Context(), "demo/shop"); err != nil || len(rules) != 0 {
		t.Errorf("%+v %v", rules, err)
	}
}

type known struct{ roles, passed map[string]bool }

func (k known) HasRole(_ context.Context, user, repo, role string) (bool, error) {
	return k.roles[user+" "+repo+" "+role], nil
}

func (k known) Passed(_ context.Context, _, commit, check string) (bool, error) {
	return k.passed[commit+" "+check], nil
}

func TestProtectedBranchByRoleAndStatus(t *testing.T) {
	k := known{roles: map[string]bool{}, passed: map[string]bool{}}
	h := start(t, t.TempDir(), func(o *git.Options) { o.Roles, o.Statuses = k, k })
	url := h.create("demo/shop")
	w := work(t, map[string]string{"a": "1"})
	head := run(t, w, "rev-parse", "HEAD")
	if err := h.Protect(t.Context(), "demo/shop", git.Rule{Pattern: "main", Push: []string{"role:admin"}, RequireStatus: []string{"CI / test"}}); err != nil {
		t.Fatal(err)
	}
	fails(t, "only role:admin may push", w, "push", url, "main")
	k.roles["ann demo/shop admin"] = true
	fails(t, "has not passed CI / test", w, "push", url, "main")
	run(t, w, "push", "-q", url, "main:candidate")
	k.passed[head+" CI / test"] = true
	run(t, w, "push", "-q", url, "main")

	plain := start(t, t.TempDir())
	plain.create("demo/shop")
	for _, r := range []git.Rule{{Pattern: "main", Push: []string{"role:admin"}}, {Pattern: "main", RequireStatus: []string{"x"}}} {
		if err := plain.Protect(t.Context(), "demo/shop", r); !errors.Is(err, problem.ErrInvalid) {
			t.Errorf("a rule that nothing here can tell was taken: %v", err)
		}
	}
}

// TestChecksSeeThePushBeforeItHappens reads the quarantined objects.
func TestChecksSeeThePushBeforeItHappens(t *testing.T) {
	var c checks
	h := start(t, t.TempDir(), func(o *git.Options) { o.Checks = []git.Check{&c} })
	url := h.create("demo/shop")
	w := work(t, map[string]string{"a": "1"})
	run(t, w, "push", "-q", url, "main")
	commit(t, w, map[string]string{"dir/key": "s3cret", "b": "harmless"})
	second := commit(t, w, map[string]string{"c": "3"})

	c.set(func(ctx context.Context, p git.Incoming) ([]git.Refusal, error) {
		p.Say("looking")
		if _, err := h.Commit(ctx, p.Repo, second); !errors.Is(err, problem.ErrNotFound) {
			return nil, fmt.Errorf("the commit is there already: %v", err)
		}
		commits, more, err := p.Objects.Commits(ctx, p.Updates[0], 10)
		if err != nil || more || len(commits) != 2 || commits[0] != second {
			return nil, fmt.Errorf("commits %v %v %v", commits, more, err)
		}
		names := map[string]string{}
		var hashes []string
		for _, commit := range commits {
			files, err := p.Objects.Files(ctx, commit)
			if err != nil {
				return nil, err
			}
			for _, f := range files {
				names[f.Hash] = f.Path
				hashes = append(hashes, f.Hash)
			}
		}
		blobs := 0
		if err := p.Objects.Each(ctx, func(o git.Object) error {
			if o.Type == "blob" {
				blobs++
			}
			return nil
		}); err != nil || blobs != 3 {
			return nil, fmt.Errorf("%d blobs, %v", blobs, err)
		}
		var out []git.Refusal
		err = p.Objects.Read(ctx, hashes, func(o git.Object, r io.Reader) error {
			b := make([]byte, 4)
			n, _ := io.ReadFull(r, b) // the rest is skipped for us
			if bytes.Equal(b[:n], []byte("s3cr")) {
				out = append(out, git.Refusal{Reason: "secret found", Message: "error: secret in " + names[o.Hash] + "\nRotate it."})
			}
			return nil
		})
		return out, err
	})
	out, err := client(t, w, "push", url, "main", "main:other")
	if err == nil {
		t.Fatalf("the push passed:\n%s", out)
	}
	for _, want := range []string{"remote: looking", "remote: error: secret in dir/key", "remote: Rotate it.", "main -> main (secret found)", "main -> other (secret found)"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if _, err := client(t, filepath.Join(h.dir, "git", "demo", "shop.git"), "cat-file", "-e", second); err == nil {
		t.Error("objects of a refused push are in the repository")
	}

	c.set(func(context.Context, git.Incoming) ([]git.Refusal, error) { return nil, errors.New("scanner is away") })
	fails(t, "could not be checked, so it is refused: check push to demo/shop: scanner is away", w, "push", url, "main")
	c.set(nil)
	run(t, w, "push", "-q", url, "main")
}

func TestChecksHaveADeadline(t *testing.T) {
	var c checks
	c.set(func(ctx context.Context, _ git.Incoming) ([]git.Refusal, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	h := start(t, t.TempDir(), func(o *git.Options) { o.Checks, o.CheckTime = []git.Check{&c}, 50*time.Millisecond })
	url := h.create("demo/shop")
	w := work(t, map[string]string{"a": "1"})
	fails(t, "deadline exceeded", w, "push", url, "main")
	if left, err := filepath.Glob(filepath.Join(h.dir, "git", ".push-*")); err != nil || len(left) > 0 {
		t.Errorf("left %v %v", left, err)
	}
}

func TestFileAndRepositoryLimits(t *testing.T) {
	h := start(t, t.TempDir(), func(o *git.Options) { o.MaxFile, o.MaxRepository = 1<<20, 4<<20 })
	url := h.create("demo/shop")
	w := work(t, map[string]string{"a": "1"})
	run(t, w, "push", "-q", url, "main")
	// Zeros are nothing on the way and a megabyte there.
	commit(t, w, map[string]string{"dir/big": string(make([]byte, 1<<20+1))})
	out, err := client(t, w, "push", url, "main")
	if err == nil || !strings.Contains(out, "remote: error: dir/big has 1.0 MiB, more than the 1 MiB that a file may have here.") || !strings.Contains(out, "git lfs migrate") || !strings.Contains(out, "(file too large)") {
		t.Errorf("%v\n%s", err, out)
	}
	run(t, w, "reset", "-q", "--hard", "HEAD^")
	random, err := os.Open("/dev/urandom")
	if err != nil {
		t.Fatal(err)
	}
	defer random.Close()
	for i := range 6 {
		b := make([]byte, 1<<20-100)
		if _, err := io.ReadFull(random, b); err != nil {
			t.Fatal(err)
		}
		commit(t, w, map[string]string{fmt.Sprint("f", i): string(b)})
	}
	fails(t, "(repository too large)", w, "push", url, "main")
	run(t, w, "push", "-q", url, "HEAD~3:main")
}
