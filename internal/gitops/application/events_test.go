package application_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/base/event/eventtest"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// services are the events about Applications, "type revision".
func (w *world) services() (out []string) {
	w.t.Helper()
	if err := w.db.Read(w.t.Context(), func(q store.Queryer) error {
		list, err := store.Events(w.t.Context(), q, store.EventFilter{Types: []string{event.TypeServiceDeployed, event.TypeServiceUpgraded, event.TypeServiceRemoved}}, 0, 100)
		for _, e := range list {
			var s event.Service
			if err := json.Unmarshal(e.Data, &s); err != nil {
				return err
			}
			out = append(out, e.Type[len("dev.cdevents.service."):len(e.Type)-len(".0.3.0")]+" "+s.Revision)
			if err := eventtest.Check(e.Entry()); err != nil {
				return err
			}
		}
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	return out
}

// TestDeploymentsAreEvents counts the events of an Application's life, with a
// restart of the controller in it.
func TestDeploymentsAreEvents(t *testing.T) {
	w := newWorld(t)
	stop := w.control()
	become := func(want ...string) {
		t.Helper()
		w.eventually("the events are there", 30*time.Second, func() error {
			if got := fmt.Sprint(w.services()); got != fmt.Sprint(want) {
				return fmt.Errorf("%s, want %s", got, fmt.Sprint(want))
			}
			return nil
		})
	}
	first := w.push("o/events", configMap("a", "1"))
	w.application("events", automated("o/events", "app", "events"))
	w.becomes("events", first, "Synced", "Healthy")
	become("deployed " + first)
	second := w.push("o/events", configMap("a", "2"))
	w.becomes("events", second, "Synced", "Healthy")
	become("deployed "+first, "upgraded "+second)
	stop()

	// What a lost log does not have is told again, what it has is not.
	if err := w.db.Write(t.Context(), func(tx store.Tx) error {
		_, err := tx.ExecContext(t.Context(), `DELETE FROM events WHERE type = ?`, event.TypeServiceUpgraded)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	w.control()
	become("deployed "+first, "upgraded "+second)
	w.patch(v1alpha1.Applications, w.ns, "events", `{"metadata":{"finalizers":["`+v1alpha1.FinalizerResources+`"]}}`)
	if err := w.cluster.Dynamic.Resource(v1alpha1.Applications).Namespace(w.ns).Delete(t.Context(), "events", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	become("deployed "+first, "upgraded "+second, "removed "+second)
}
