package demo

import (
	"context"
	"fmt"
	"io/fs"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

var (
	applications = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "applications"}
	namespaces   = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
)

const argocd = "argocd"

// application is the state of an Application, as much as the demo reads.
type application struct {
	Exists       bool
	Sync, Health string
	Revision     string // what it was compared with
	Applied      string // what was last applied with success
	Message      string
}

// applyRoot creates the Application that brings the others, as `kubectl apply
// --server-side` would. The server installs the kind, and its namespace, when it
// starts; on a cluster that has just come up it may take a moment.
func (d *Demo) applyRoot(ctx context.Context, files fs.FS) (string, error) {
	b, err := fs.ReadFile(files, "root.yaml")
	if err != nil {
		return "", err
	}
	var app unstructured.Unstructured
	if err := yaml.Unmarshal(b, &app.Object); err != nil {
		return "", fmt.Errorf("read root.yaml: %w", err)
	}
	// The example names the usual address of the server.
	if err := unstructured.SetNestedField(app.Object, d.git.cloneURL(manifestsRepo), "spec", "source", "repoURL"); err != nil {
		return "", err
	}
	apply := metav1.ApplyOptions{FieldManager: "penstock-demo", Force: true}
	deadline := time.Now().Add(30 * time.Second)
	for {
		_, err := d.o.Kube.Resource(applications).Namespace(argocd).Apply(ctx, app.GetName(), &app, apply)
		switch {
		case err == nil:
			return app.GetName(), nil
		case !(apierrors.IsNotFound(err) || meta.IsNoMatchError(err)) || time.Now().After(deadline):
			return "", failed("apply Application", app.GetName(), err)
		}
		if err := sleep(ctx, lookEvery); err != nil {
			return "", err
		}
	}
}

// application reads one.
func (d *Demo) application(ctx context.Context, name string) (application, error) {
	u, err := d.o.Kube.Resource(applications).Namespace(argocd).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return application{}, nil
	}
	if err != nil {
		return application{}, failed("read Application", name, err)
	}
	return readApplication(u.Object), nil
}

func readApplication(o map[string]any) application {
	text := func(path ...string) string {
		s, _, err := unstructured.NestedString(o, path...)
		if err != nil {
			return ""
		}
		return s
	}
	a := application{
		Exists:   true,
		Sync:     text("status", "sync", "status"),
		Health:   text("status", "health", "status"),
		Revision: text("status", "sync", "revision"),
		Message:  text("status", "operationState", "message"),
	}
	if text("status", "operationState", "phase") == "Succeeded" {
		a.Applied = text("status", "operationState", "syncResult", "revision")
	}
	conditions, _, err := unstructured.NestedSlice(o, "status", "conditions")
	if err != nil {
		return a
	}
	for _, c := range conditions {
		if m, ok := c.(map[string]any); ok {
			if message, _, err := unstructured.NestedString(m, "message"); err == nil && message != "" {
				a.Message = message
			}
		}
	}
	return a
}

// waitSynced waits until an Application is there and as Git says.
func (d *Demo) waitSynced(ctx context.Context, name string) error {
	deadline := time.Now().Add(time.Minute)
	for {
		a, err := d.application(ctx, name)
		if err != nil {
			return err
		}
		if a.Sync == "Synced" {
			return nil
		}
		if time.Now().After(deadline) {
			return &problem.Error{Op: "wait for Application", Subject: name, Err: fmt.Errorf("%w: it is %s", problem.ErrTimeout, a.describe()), Hint: "penstock app get " + name}
		}
		if err := sleep(ctx, lookEvery); err != nil {
			return err
		}
	}
}

// followSync shows dev's Application until a revision after before has been
// applied, and returns when that was seen.
func (d *Demo) followSync(ctx context.Context, topic string, before application) (time.Time, error) {
	for {
		a, err := d.application(ctx, dev.app)
		switch {
		case err != nil:
			return time.Time{}, err
		case a.Revision == before.Revision:
		case a.Applied == a.Revision && a.Sync == "Synced":
			d.board.end(topic, "passed", fmt.Sprintf("%s at %s", dev.app, short(a.Revision)))
			return time.Now(), nil
		default:
			d.board.set(topic, "running", fmt.Sprintf("%s at %s, %s", dev.app, short(a.Revision), a.describe()), nil)
		}
		if err := sleep(ctx, lookEvery); err != nil {
			return time.Time{}, err
		}
	}
}

func (a application) describe() string {
	if !a.Exists {
		return "not there"
	}
	s := orUnknown(a.Sync) + ", " + orUnknown(a.Health)
	if a.Message != "" {
		s += ": " + a.Message
	}
	return s
}

func orUnknown(s string) string {
	if s == "" {
		return "not compared yet"
	}
	return s
}
