package application

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
)

func TestDeployments(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	app := &v1alpha1.Application{}
	app.Namespace, app.Name, app.UID = "argocd", "shop", "u1"
	app.Spec.Destination = v1alpha1.Destination{Server: v1alpha1.InClusterServer, Namespace: "shop"}
	app.Status.Summary.Images = []string{"shop:2"}
	entry := func(id int64, revision string, by v1alpha1.InitiatedBy) v1alpha1.RevisionHistory {
		return v1alpha1.RevisionHistory{ID: id, Revision: revision, DeployedAt: metav1.NewTime(at), InitiatedBy: by, Source: v1alpha1.Source{RepoURL: "http://x/m.git"}}
	}
	app.Status.History = []v1alpha1.RevisionHistory{entry(0, "aaa", v1alpha1.InitiatedBy{Username: "ann"}), entry(1, "bbb", v1alpha1.InitiatedBy{Automated: true})}
	said := func() (out []string) {
		for _, d := range deployments(app) {
			s := d.service
			line := d.typ[len("dev.cdevents.service."):] + " " + s.Revision + " " + s.Environment + " " + s.Initiator
			for _, i := range s.Images {
				line += " " + i
			}
			out = append(out, line)
		}
		return out
	}
	old := "deployed.0.3.0 aaa in-cluster/shop ann"
	app.Status.Sync = v1alpha1.SyncStatus{Status: v1alpha1.SyncStatusOutOfSync, Revision: "bbb"}
	if d := cmp.Diff([]string{old}, said()); d != "" {
		t.Errorf("while the newest is not in place (-want +got):\n%s", d)
	}
	app.Status.Sync = v1alpha1.SyncStatus{Status: v1alpha1.SyncStatusSynced, Revision: "aaa"}
	if d := cmp.Diff([]string{old}, said()); d != "" {
		t.Errorf("while the status is of another commit (-want +got):\n%s", d)
	}
	app.Status.Sync.Revision = "bbb"
	before := deployments(app)
	if d := cmp.Diff([]string{old, "upgraded.0.3.0 bbb in-cluster/shop automated shop:2"}, said()); d != "" {
		t.Errorf("when it is (-want +got):\n%s", d)
	}
	app.Status.History = append(app.Status.History, entry(2, "ccc", v1alpha1.InitiatedBy{}))
	again := deployments(app)
	if again[0].id != before[0].id || again[1].id != before[1].id || before[0].id == before[1].id {
		t.Error("the ids of events change or do not differ")
	}
	app.UID = "u2" // made anew
	if deployments(app)[0].id == before[0].id {
		t.Error("two Applications share an event")
	}
}
