package runs

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/base/event/eventtest"
	"github.com/penstock-dev/penstock/internal/ci/jobdir"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// TestABuiltImageIsTwoEvents applies what a runner reports of an image, twice,
// as after a crash.
func TestABuiltImageIsTwoEvents(t *testing.T) {
	ctx := t.Context()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := openService(t, func() time.Time { return now })
	s.pushed(t, "demo/fine", "refs/heads/main")
	if err := s.takePushes(ctx); err != nil {
		t.Fatal(err)
	}
	entry := jobdir.Entry{Type: jobdir.Artifact, At: now, Step: 2, Image: &jobdir.Image{Digest: "sha256:0a",
		Tags:   []string{"penstock.localhost:7080/demo/fine:v1", "penstock.localhost:7080/demo/fine", "other.example/fine:v1"},
		Pushed: []string{"penstock.localhost:7080/demo/fine:v1", "penstock.localhost:7080/demo/fine"}}}
	w := watched{run: 1, key: "a", job: 1}
	for range 2 {
		if err := s.DB.Write(ctx, func(tx store.Tx) error { return apply(ctx, tx, &w, entry) }); err != nil {
			t.Fatal(err)
		}
	}
	var got []event.Artifact
	var types []string
	if err := s.DB.Read(ctx, func(q store.Queryer) error {
		list, err := store.Events(ctx, q, store.EventFilter{Types: []string{event.TypeArtifactPackaged, event.TypeArtifactPublished}}, 0, 100)
		for _, e := range list {
			eventtest.Valid(t, e.Entry())
			var a event.Artifact
			if err := json.Unmarshal(e.Data, &a); err != nil {
				return err
			}
			got = append(got, a)
			types = append(types, e.Type)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	fine := event.Artifact{Image: "penstock.localhost:7080/demo/fine", Tags: []string{"v1", "latest"}, Digest: "sha256:0a", RunID: 1, Job: "a",
		Repo: "demo/fine", Commit: got[0].Commit, Cause: "demo/fine", At: now}
	other := fine
	other.Image, other.Tags = "other.example/fine", []string{"v1"}
	if d := cmp.Diff([]event.Artifact{other, fine, fine}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{event.TypeArtifactPackaged, event.TypeArtifactPackaged, event.TypeArtifactPublished}, types); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
