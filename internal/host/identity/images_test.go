package identity_test

import (
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/host/identity"
)

func TestImagesOfAJob(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir, time.Now())
	scope := identity.Scope{Read: []string{"git/*"}, Write: []string{"git/*"}, ReadImages: []string{"shared/*"}, WriteImages: []string{"demo/*"}}
	token, err := w.Issue(t.Context(), identity.Job{Run: 1, Job: "build"}, scope, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		p, err := w.Identify(bearer(token))
		if err != nil {
			t.Fatal(err)
		}
		for repo, want := range map[string][2]bool{
			"demo/shop": {true, true}, "demo/shop/cache": {true, true}, "shared/base": {true, false},
			"git/app": {false, false}, "demo": {false, false}, "demonstration/x": {false, false}, "": {false, false},
		} {
			if got := [2]bool{p.MayImage(repo, false), p.MayImage(repo, true)}; got != want {
				t.Errorf("%s: may read, write %v, want %v", repo, got, want)
			}
		}
		if p.May("demo/shop", false) || !p.May("git/app", true) {
			t.Error("rights to images are not rights to Git")
		}
		w = open(t, dir, time.Now()) // a restarted server knows the same
	}
	if _, err := w.Issue(t.Context(), identity.Job{Run: 1, Job: "build"}, identity.Scope{WriteImages: []string{"*/x"}}, time.Hour); err == nil {
		t.Error("a scope of every owner was taken")
	}
	admin, err := w.Identify(bearer(w.admin))
	if err != nil || !admin.MayImage("any/thing", true) || !admin.MayImage("one", true) {
		t.Errorf("the admin: %v", err)
	}
}
