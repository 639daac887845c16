package registry_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/host/registry"
	"github.com/penstock-dev/penstock/internal/host/registry/storage"
)

// runs has each run push into, and look first in, a view of its own.
type runs struct{}

func (runs) View(user, _ string) string {
	if run, ok := strings.CutPrefix(user, "write:demo/run"); ok {
		return "run" + run
	}
	return ""
}

// TestQuarantine is the decision about tags that a run pushes: they resolve to
// the new digest for that run's credentials, and to the old one for everybody
// else until they are released. Digests are open.
func TestQuarantine(t *testing.T) {
	w := start(t, func(o *registry.Options, _ *storage.Options) { o.Quarantine = runs{} })
	run7 := w.as("write:demo/run-7")
	old := w.pushManifest("demo/run-7/app", "latest", w.image("demo/run-7/app", "old"))
	fresh := run7.pushManifest("demo/run-7/app", "latest", run7.image("demo/run-7/app", "new"))
	run7.pushManifest("demo/run-7/app", "extra", run7.image("demo/run-7/app", "new"))
	check := func(when string, w *world, want string, tags int) {
		t.Helper()
		a := w.want(w.do("GET", "/v2/demo/run-7/app/manifests/latest", nil), 200)
		if got := a.Header.Get("Docker-Content-Digest"); got != want {
			t.Errorf("%s: latest is %s, want %s", when, got, want)
		}
		var list struct{ Tags []string }
		if err := json.Unmarshal(w.want(w.do("GET", "/v2/demo/run-7/app/tags/list", nil), 200).body, &list); err != nil || len(list.Tags) != tags {
			t.Errorf("%s: tags %v, %v", when, list.Tags, err)
		}
		w.want(w.do("GET", "/v2/demo/run-7/app/manifests/"+fresh.Digest.String(), nil), 200)
	}
	check("the run itself", run7, fresh.Digest.String(), 2)
	check("everybody else", w, old.Digest.String(), 1)
	if err := w.store.Release("demo/run-7/app", "run-7"); err != nil {
		t.Fatal(err)
	}
	check("the run, released", run7, fresh.Digest.String(), 2)
	check("everybody, released", w, fresh.Digest.String(), 2)
}
