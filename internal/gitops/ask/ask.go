// Package ask asks the application controller for syncs and comparisons, with
// the rights of whoever the client acts for: it changes the Application, as
// kubectl would.
package ask

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/base/id"
	"github.com/penstock-dev/penstock/internal/base/problem"
)

// requestInfo names the entry of operation.info by which an operation is
// known again.
const requestInfo = "penstock.dev/request"

// ErrBusy says that an Application does one thing at a time.
var ErrBusy = errors.New("another operation is already in progress")

// attempts to change an object that changes meanwhile.
const attempts = 20

// Sync sets the operation of the Application and returns the name of the
// request. by is who asks.
func Sync(ctx context.Context, client dynamic.ResourceInterface, manager, name, by string, op v1alpha1.SyncOperation) (request string, err error) {
	for range attempts {
		request, err = trySync(ctx, client, manager, name, by, op)
		if !apierrors.IsConflict(err) { // its status was written meanwhile
			return request, err
		}
	}
	return "", err
}

func trySync(ctx context.Context, client dynamic.ResourceInterface, manager, name, by string, op v1alpha1.SyncOperation) (string, error) {
	u, err := client.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	app, _, err := v1alpha1.DecodeApplication(u)
	if err != nil {
		return "", fmt.Errorf("read application %s: %w: %w", name, err, problem.ErrInvalid)
	}
	if u.Object["operation"] != nil {
		return "", ErrBusy
	}
	if p := app.Spec.SyncPolicy; p != nil {
		op.SyncOptions = p.SyncOptions
	}
	request := id.New()
	operation := v1alpha1.Operation{
		Sync: &op, InitiatedBy: v1alpha1.InitiatedBy{Username: by},
		Info: []v1alpha1.Info{{Name: requestInfo, Value: request}},
	}
	b, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": u.GetResourceVersion()}, "operation": operation})
	if err != nil {
		return "", err
	}
	_, err = client.Patch(ctx, name, types.MergePatchType, b, metav1.PatchOptions{FieldManager: manager})
	return request, err
}

// Is says whether op is what Sync asked for under the name request.
func Is(op v1alpha1.Operation, request string) bool {
	for _, i := range op.Info {
		if i.Name == requestInfo && i.Value == request {
			return true
		}
	}
	return false
}

// Refresh asks for a comparison now; a hard one trusts nothing that is known.
func Refresh(ctx context.Context, client dynamic.ResourceInterface, manager, name string, hard bool) error {
	kind := "normal"
	if hard {
		kind = "hard"
	}
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationRefresh, kind)
	_, err := client.Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: manager})
	return err
}
