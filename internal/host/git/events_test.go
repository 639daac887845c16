package git_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/base/event/eventtest"
	"github.com/penstock-dev/penstock/internal/host/store"
)

func TestEventsTellOfRepositoriesAndBranches(t *testing.T) {
	h := start(t, t.TempDir())
	url := h.create("demo/shop")
	w := work(t, map[string]string{"a": "1"})
	first := run(t, w, "rev-parse", "HEAD")
	run(t, w, "push", "-q", url, "main", "main:dev", "main:refs/tags/v1")
	second := commit(t, w, map[string]string{"a": "2"})
	run(t, w, "push", "-q", url, "main", ":dev")
	run(t, w, "push", "-q", url, "main:side")
	if err := h.Delete(t.Context(), "demo/shop"); err != nil {
		t.Fatal(err)
	}
	h.create("demo/shop") // another one of the same name

	var list []store.Event
	if err := h.db.Read(t.Context(), func(q store.Queryer) (err error) {
		list, err = store.Events(t.Context(), q, store.EventFilter{Subject: "demo/shop"}, 0, 100)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	pushes := map[string]string{}
	var got []string
	for _, e := range list {
		eventtest.Valid(t, e.Entry())
		var v struct{ Branch, Commit, Push, Actor string }
		if err := json.Unmarshal(e.Data, &v); err != nil {
			t.Fatal(err)
		}
		line := strings.Join(strings.Split(e.Type, ".")[2:4], ".")
		if e.Type == event.TypePush {
			pushes[e.ID] = string(rune('1' + len(pushes)))
			line += " " + pushes[e.ID]
		}
		if v.Branch != "" {
			line += " " + pushes[v.Push] + " " + v.Actor + " " + v.Branch + " " + v.Commit
		}
		got = append(got, line)
	}
	want := []string{
		"repository.created",
		"penstock-push.received 1",
		"branch.created 1 ann dev " + first,
		"branch.created 1 ann main " + first,
		"change.merged 1 ann main " + first,
		"penstock-push.received 2",
		"branch.deleted 2 ann dev " + first,
		"change.merged 2 ann main " + second,
		"penstock-push.received 3",
		"branch.created 3 ann side " + second,
		"repository.deleted",
		"repository.created",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
