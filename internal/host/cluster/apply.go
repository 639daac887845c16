package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// ApplyOptions configures [Cluster.Apply].
type ApplyOptions struct {
	DryRun bool
	// Lenient lets the API server drop fields that it does not know instead
	// of refusing the object.
	Lenient bool
}

// Apply makes u so by server-side apply and returns the whole object. Fields
// that others own are taken over.
func (c *Cluster) Apply(ctx context.Context, u *unstructured.Unstructured, o ApplyOptions) (*unstructured.Unstructured, error) {
	client, err := c.Client(u)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(u.Object)
	if err != nil {
		return nil, fmt.Errorf("encode %s %s: %w", u.GetKind(), u.GetName(), err)
	}
	force := true
	opts := metav1.PatchOptions{FieldManager: FieldManager, Force: &force, FieldValidation: metav1.FieldValidationStrict}
	if o.Lenient {
		opts.FieldValidation = metav1.FieldValidationIgnore
	}
	if o.DryRun {
		opts.DryRun = []string{metav1.DryRunAll}
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	live, err := client.Patch(ctx, u.GetName(), types.ApplyPatchType, b, opts)
	if apierrors.IsNotFound(err) && strings.Contains(err.Error(), "could not find the requested resource") {
		// The kind was there and is not any more.
		c.Rediscover()
		gvk := u.GroupVersionKind()
		return nil, &meta.NoKindMatchError{GroupKind: gvk.GroupKind(), SearchedVersions: []string{gvk.Version}}
	}
	return live, err
}

// ApplyDefinitions applies CustomResourceDefinitions and waits until the API
// server serves their kinds.
func (c *Cluster) ApplyDefinitions(ctx context.Context, crds ...*unstructured.Unstructured) error {
	for _, crd := range crds {
		live, err := c.Apply(ctx, crd, ApplyOptions{})
		if err != nil {
			return fmt.Errorf("apply definition %s: %w", crd.GetName(), err)
		}
		if err := c.WaitEstablished(ctx, live); err != nil {
			return fmt.Errorf("apply definition %s: %w", crd.GetName(), err)
		}
	}
	c.Rediscover()
	return nil
}

// WaitEstablished waits until the API server serves the kind of crd.
func (c *Cluster) WaitEstablished(ctx context.Context, crd *unstructured.Unstructured) error {
	client, err := c.Client(crd)
	if err != nil {
		return err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !Established(crd) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait until it is established: %w", ctx.Err())
		}
		live, err := client.Get(ctx, crd.GetName(), metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("wait until it is established: %w", err)
		}
		crd = live
	}
	return nil
}

// Established says whether a CustomResourceDefinition is served.
func Established(crd *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
	for _, c := range conditions {
		if m, ok := c.(map[string]any); ok && m["type"] == "Established" && m["status"] == "True" {
			return true
		}
	}
	return false
}

// Refusal says whether the API server refused an object for what it is, so
// that sending it again is refused again. Everything else is worth a retry.
func Refusal(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsForbidden(err) ||
		apierrors.IsMethodNotSupported(err) || apierrors.IsRequestEntityTooLargeError(err) || apierrors.IsNotFound(err) ||
		// A field of the wrong type is answered with an internal error.
		apierrors.IsInternalError(err) && strings.Contains(err.Error(), "failed to create typed patch object")
}

// Reason returns the message of an API server's refusal without the words
// around it.
func Reason(err error) string {
	var s apierrors.APIStatus
	if errors.As(err, &s) && s.Status().Message != "" {
		return s.Status().Message
	}
	return err.Error()
}

// Older says whether a is an older state than b of one object. The API server
// promises that resource versions of one kind can be compared as numbers.
func Older(a, b *unstructured.Unstructured) bool {
	x, err1 := strconv.ParseUint(a.GetResourceVersion(), 10, 64)
	y, err2 := strconv.ParseUint(b.GetResourceVersion(), 10, 64)
	return err1 == nil && err2 == nil && x < y
}
