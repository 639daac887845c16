package demo

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
)

// Repositories are those that the demo creates.
func Repositories() []string { return []string{shopRepo, manifestsRepo} }

// RemoveApplications removes the demo's Applications, the root first so that
// it does not bring the others back, and then the namespaces with everything
// that they deployed. It returns when all of it is gone.
func RemoveApplications(ctx context.Context, kube dynamic.Interface) error {
	apps := kube.Resource(applications).Namespace(argocd)
	for _, name := range []string{rootApp, dev.app, staging.app, production.app} {
		if err := apps.Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return failed("delete Application", name, err)
		}
		if err := gone(ctx, func() error { _, err := apps.Get(ctx, name, metav1.GetOptions{}); return err }); err != nil {
			return failed("wait for the end of Application", name, err)
		}
	}
	spaces := kube.Resource(namespaces)
	for _, e := range []environment{dev, staging, production} {
		ns := "shop-" + e.name
		if err := spaces.Delete(ctx, ns, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return failed("delete namespace", ns, err)
		}
		if err := gone(ctx, func() error { _, err := spaces.Get(ctx, ns, metav1.GetOptions{}); return err }); err != nil {
			return failed("wait for the end of namespace", ns, err)
		}
	}
	return nil
}

// gone waits until get finds nothing.
func gone(ctx context.Context, get func() error) error {
	for {
		switch err := get(); {
		case apierrors.IsNotFound(err):
			return nil
		case err != nil:
			return err
		}
		if err := sleep(ctx, lookEvery); err != nil {
			return err
		}
	}
}
