package git_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/penstock-dev/penstock/internal/base/event"
)

const zero = event.ZeroCommit

func TestEveryPushIsOneEvent(t *testing.T) {
	h := start(t, t.TempDir())
	url := h.create("demo/shop")
	dir := work(t, map[string]string{"a": "1"})
	first := run(t, dir, "rev-parse", "HEAD")

	var want []event.Push
	push := func(updates []event.RefUpdate, args ...string) {
		t.Helper()
		run(t, dir, append([]string{"push", "-q", url}, args...)...)
		want = append(want, event.Push{Repo: "demo/shop", Actor: "ann", Updates: updates})
		got := h.events()
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(event.Push{}, "ID", "At")); diff != "" {
			t.Fatalf("after push %v (-want +got):\n%s", args, diff)
		}
	}
	push([]event.RefUpdate{{Ref: "refs/heads/main", Before: zero, After: first}}, "main")
	second := commit(t, dir, map[string]string{"a": "2"})
	push([]event.RefUpdate{{Ref: "refs/heads/main", Before: first, After: second}}, "main")
	run(t, dir, "tag", "-a", "-m", "one", "v1")
	tag := run(t, dir, "rev-parse", "v1")
	push([]event.RefUpdate{
		{Ref: "refs/heads/dev", Before: zero, After: second},
		{Ref: "refs/heads/main", Before: second, After: first},
		{Ref: "refs/tags/v1", Before: zero, After: tag},
	}, "--force", first+":refs/heads/main", second+":refs/heads/dev", "v1")
	push([]event.RefUpdate{{Ref: "refs/heads/dev", Before: second, After: zero}}, "--delete", "dev")
	push([]event.RefUpdate{{Ref: "refs/tags/v1", Before: tag, After: zero}}, ":refs/tags/v1")

	run(t, dir, "push", "-q", url, first+":refs/heads/main") // nothing to do
	if n := len(h.events()); n != len(want) {
		t.Errorf("a push without a change made %d events", n-len(want))
	}
	fails(t, "refusing to delete the current branch", dir, "push", url, ":refs/heads/main")
	fails(t, "remote rejected", dir, "push", url, first+":refs/heads/main/below")
	if n := len(h.events()); n != len(want) {
		t.Errorf("a refused push made %d events", n-len(want))
	}
	ids := map[string]bool{}
	for _, e := range h.events() {
		ids[e.ID] = true
	}
	if len(ids) != len(want) {
		t.Errorf("%d ids for %d events", len(ids), len(want))
	}
	if diff := cmp.Diff(h.events(), h.pushes.all); diff != "" {
		t.Errorf("log and bus differ:\n%s", diff)
	}
}

func TestCloneAndFetchInEveryProtocol(t *testing.T) {
	h := start(t, t.TempDir())
	url := h.create("demo/shop")
	dir := work(t, map[string]string{"a/b/c": "deep", "z": strings.Repeat("line\n", 1000)})
	old := run(t, dir, "rev-parse", "HEAD")
	head := commit(t, dir, map[string]string{"z": "short"})
	run(t, dir, "push", "-q", url, "main")
	for _, version := range []string{"0", "1", "2"} {
		t.Run("v"+version, func(t *testing.T) {
			to := t.TempDir()
			v := "protocol.version=" + version
			run(t, to, "-c", v, "clone", "-q", url, "full")
			if got := run(t, to+"/full", "rev-parse", "HEAD"); got != head {
				t.Errorf("HEAD %s, want %s", got, head)
			}
			if got := run(t, to+"/full", "symbolic-ref", "HEAD"); got != "refs/heads/main" {
				t.Errorf("HEAD is %s", got)
			}
			run(t, to, "-c", v, "clone", "-q", "--depth=1", url, "shallow")
			if got := run(t, to+"/shallow", "rev-list", "--count", "HEAD"); got != "1" {
				t.Errorf("shallow clone has %s commits", got)
			}
			run(t, to+"/shallow", "-c", v, "fetch", "-q", "--unshallow")
			if got := run(t, to+"/shallow", "rev-list", "--count", "HEAD"); got != "2" {
				t.Errorf("after unshallow: %s commits", got)
			}
			run(t, to, "init", "-q", "one")
			run(t, to+"/one", "-c", v, "fetch", "-q", "--depth=1", url, old)
			if got := run(t, to+"/one", "rev-parse", "FETCH_HEAD"); got != old {
				t.Errorf("fetch by commit gave %s", got)
			}
			run(t, to, "-c", v, "clone", "-q", "--filter=blob:none", "--no-checkout", url, "partial")
			if got := run(t, to+"/partial", "-c", v, "show", "HEAD:a/b/c"); got != "deep" {
				t.Errorf("partial clone shows %q", got)
			}
			if got := run(t, to, "-c", v, "ls-remote", "--symref", url, "HEAD"); !strings.Contains(got, "ref: refs/heads/main") || !strings.Contains(got, head) {
				t.Errorf("ls-remote: %s", got)
			}
		})
	}
	t.Run("empty", func(t *testing.T) {
		to := t.TempDir()
		run(t, to, "clone", "-q", h.create("demo/empty"), "e")
		if got := run(t, to+"/e", "symbolic-ref", "HEAD"); got != "refs/heads/main" {
			t.Errorf("HEAD is %s", got)
		}
	})
}

func TestHeadFollowsTheFirstPush(t *testing.T) {
	h := start(t, t.TempDir())
	url := h.create("demo/old")
	dir := work(t, map[string]string{"a": "1"})
	run(t, dir, "push", "-q", url, "main:refs/heads/trunk")
	r, err := h.Get(t.Context(), "demo/old")
	if err != nil || r.DefaultBranch != "trunk" {
		t.Errorf("%+v, %v", r, err)
	}
	run(t, dir, "push", "-q", url, "main")
	if r, err := h.Get(t.Context(), "demo/old"); err != nil || r.DefaultBranch != "trunk" {
		t.Errorf("a second branch: %+v, %v", r, err)
	}
}
