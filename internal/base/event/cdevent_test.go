package event_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/base/event/eventtest"
)

var at = time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)

const (
	commit = "2222222222222222222222222222222222222222"
	server = "http://penstock.localhost:7080"
)

func entry(t *testing.T, typ string, data any) event.Entry {
	t.Helper()
	b, err := json.Marshal(data)
	if err != nil {
		t.Fatal(err)
	}
	return event.Entry{ID: "id-1", Type: typ, Time: at, Data: b}
}

// full and bare are values of every type with all that they can hold, and with
// as little as rooms write.
func values() (full, bare map[string]any) {
	run := event.Run{RunID: 7, Repo: "demo/shop", Commit: commit, Ref: "refs/heads/main", Workflow: "CI", Actor: "ann", Cause: "push-1", At: at}
	finished := event.RunFinished{RunID: 7, Repo: "demo/shop", Commit: commit, Ref: "refs/heads/main", Workflow: "CI", Actor: "ann", Cause: "push-1", Conclusion: "failure", Message: "a\nb", At: at}
	job := event.Job{RunID: 7, Job: "build", Name: "build (1)", Repo: "demo/shop", Commit: commit, Cause: "push-1", At: at}
	jobFinished := event.JobFinished{RunID: 7, Job: "build", Name: "build (1)", Repo: "demo/shop", Commit: commit, Cause: "push-1", Conclusion: "cancelled", Message: "m", At: at}
	artifact := event.Artifact{Image: "penstock.localhost:7080/demo/shop", Tags: []string{"v1"}, Digest: "sha256:" + strings.Repeat("a", 64), RunID: 7, Job: "build", Repo: "demo/shop", Commit: commit, Cause: "push-1", At: at}
	service := event.Service{Application: "argocd/shop", UID: "u", History: 1, Environment: "in-cluster/shop", Source: server + "/git/demo/manifests.git", Revision: commit,
		Images: []string{"penstock.localhost:7080/demo/shop@sha256:" + strings.Repeat("a", 64), "busybox:1"}, Initiator: "ann", At: at}
	push := event.Push{ID: "id-1", Repo: "demo/shop", Actor: "ann", Updates: []event.RefUpdate{{Ref: "refs/heads/main", Before: event.ZeroCommit, After: commit}}, At: at}
	branch := event.Branch{Repo: "demo/shop", Branch: "main", Commit: commit, Push: "push-1", Actor: "ann", At: at}
	change := event.Change{Repo: "demo/shop", Branch: "main", Before: event.ZeroCommit, Commit: commit, Push: "push-1", Actor: "ann", At: at}
	repo := event.Repository{Repo: "demo/shop", URL: server + "/git/demo/shop.git", At: at}
	full = map[string]any{
		event.TypePush: push, event.TypeRepositoryCreated: repo, event.TypeRepositoryDeleted: repo,
		event.TypeBranchCreated: branch, event.TypeBranchDeleted: branch, event.TypeChangeMerged: change,
		event.TypeRunQueued: run, event.TypeRunStarted: run, event.TypeRunFinished: finished, event.TypeJobStarted: job, event.TypeJobFinished: jobFinished,
		event.TypeArtifactPackaged: artifact, event.TypeArtifactPublished: artifact,
		event.TypeServiceDeployed: service, event.TypeServiceUpgraded: service, event.TypeServiceRemoved: service,
	}
	noImage := service
	noImage.Images, noImage.Initiator = nil, ""
	bare = map[string]any{
		event.TypeRepositoryDeleted: event.Repository{Repo: "demo/shop", At: at},
		event.TypeRunStarted:        event.Run{RunID: 7, Repo: "demo/shop", Commit: commit, At: at},
		event.TypeRunFinished:       event.RunFinished{RunID: 7, Repo: "demo/shop", Commit: commit, Conclusion: "skipped", At: at}, // as version 1 wrote
		event.TypeJobFinished:       event.JobFinished{RunID: 7, Job: "a", Name: "", Repo: "demo/shop", Commit: commit, Conclusion: "timed_out", At: at},
		event.TypeServiceDeployed:   noImage,
		event.TypeServiceUpgraded:   event.Service{Application: "argocd/x", Environment: "in-cluster/x", At: at},
	}
	return full, bare
}

func TestEveryTypeIsAValidCDEvent(t *testing.T) {
	full, bare := values()
	if len(full) != 16 {
		t.Errorf("%d types", len(full))
	}
	for _, set := range []map[string]any{full, bare} {
		for typ, v := range set {
			eventtest.Valid(t, entry(t, typ, v))
		}
	}
}

// TestTheCheckChecks keeps the test above from passing whatever it is given.
func TestTheCheckChecks(t *testing.T) {
	full, _ := values()
	for typ, v := range full {
		e := entry(t, typ, v)
		e.ID = ""
		if eventtest.Check(e) == nil {
			t.Errorf("%s without an id is taken as valid", typ)
		}
	}
	for name, e := range map[string]event.Entry{
		"unknown type": entry(t, "dev.cdevents.x.y.0.1.0", full[event.TypePush]),
		"no text":      {ID: "1", Type: event.TypePush, Data: json.RawMessage(`{"repo": 1}`)},
		"no refs":      entry(t, event.TypePush, event.Push{ID: "id-1", Repo: "a/b"}),
		"no URL":       entry(t, event.TypeRepositoryCreated, event.Repository{Repo: "a/b"}),
	} {
		if eventtest.Check(e) == nil {
			t.Errorf("%s: taken as valid", name)
		}
	}
}

func TestRendering(t *testing.T) {
	full, _ := values()
	got, err := event.CloudEvent(entry(t, event.TypeJobFinished, full[event.TypeJobFinished]), server+"/")
	if err != nil {
		t.Fatal(err)
	}
	want := `{"specversion":"1.0","id":"id-1","source":"http://penstock.localhost:7080","type":"dev.cdevents.taskrun.finished.0.3.0",` +
		`"subject":"run/7/build","time":"2026-01-02T03:04:05.0000006Z","datacontenttype":"application/json","data":{"context":{"specversion":"0.6.0-draft",` +
		`"id":"id-1","chainId":"push-1","source":"http://penstock.localhost:7080","type":"dev.cdevents.taskrun.finished.0.3.0","timestamp":"2026-01-02T03:04:05.0000006Z",` +
		`"links":[{"linkType":"RELATION","linkKind":"TRIGGER","target":{"contextId":"push-1"}}]},"subject":{"id":"run/7/build","source":"http://penstock.localhost:7080",` +
		`"content":{"errors":"m","outcome":"cancel","pipelineRun":{"id":"run/7"},"taskName":"build (1)","uri":"http://penstock.localhost:7080/api/v1/runs/7"}},` +
		`"customData":{"runId":7,"job":"build","name":"build (1)","repo":"demo/shop","commit":"2222222222222222222222222222222222222222","cause":"push-1",` +
		`"conclusion":"cancelled","message":"m","at":"2026-01-02T03:04:05.0000006Z"},"customDataContentType":"application/json"}}`
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestPackageURL(t *testing.T) {
	for image, want := range map[string]string{
		"penstock.localhost:7080/demo/Shop:v1@sha256:0a": "pkg:oci/shop@sha256%3A0a?repository_url=penstock.localhost%3A7080%2Fdemo%2FShop&tag=v1",
		"penstock.localhost:7080/demo/shop":              "pkg:oci/shop?repository_url=penstock.localhost%3A7080%2Fdemo%2Fshop",
		"busybox:1":                                      "pkg:oci/busybox?repository_url=busybox&tag=1",
	} {
		if got := event.PackageURL(image); got != want {
			t.Errorf("%s: %s, want %s", image, got, want)
		}
	}
}

func FuzzCDEvent(f *testing.F) {
	full, bare := values()
	for _, set := range []map[string]any{full, bare} {
		for typ, v := range set {
			b, err := json.Marshal(v)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(typ, b)
		}
	}
	f.Fuzz(func(t *testing.T, typ string, data []byte) {
		got, err := event.CDEvent(event.Entry{ID: "1", Type: typ, Time: at, Data: data}, server)
		if err == nil && !json.Valid(got) {
			t.Errorf("%s %q: %s", typ, data, got)
		}
	})
}
