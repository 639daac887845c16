// Package volumes provisions persistent volumes as directories of this machine:
// the default StorageClass "local". A claim gets its directory when the first
// Pod that uses it is scheduled, and loses it with the claim.
package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v11/controller"
)

const (
	// Class is the name of the StorageClass.
	Class = "local"
	// Provisioner is the name by which the class asks for it.
	Provisioner = "penstock.dev/local"

	defaultClass = "storageclass.kubernetes.io/is-default-class"
)

// Options say where volumes go.
type Options struct {
	Client kubernetes.Interface
	Dir    string
}

// Provisions makes and removes volumes.
type Provisions struct {
	client     kubernetes.Interface
	controller *controller.ProvisionController
}

// New returns what [Provisions.Run] runs. It must return before anything else
// of Kubernetes starts in this process: the library registers types in the
// scheme that all of them share, and a map that is written while others read
// it ends the process.
func New(ctx context.Context, o Options) *Provisions {
	return &Provisions{client: o.Client, controller: controller.NewProvisionController(ctx, o.Client, Provisioner, &provisioner{o.Dir},
		controller.LeaderElection(false), controller.MetricsPort(0), controller.Threadiness(4))}
}

// Run provisions until ctx is done.
func (p *Provisions) Run(ctx context.Context, ready func()) error {
	if err := ensureClass(ctx, p.client); err != nil {
		return err
	}
	ready()
	p.controller.Run(ctx)
	return nil
}

// ensureClass makes the class. One that the user changed is left alone, and so
// is the user's choice of another default.
func ensureClass(ctx context.Context, client kubernetes.Interface) error {
	classes := client.StorageV1().StorageClasses()
	list, err := classes.List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list storage classes: %w", err)
	}
	c := class(list.Items)
	if c == nil {
		return nil
	}
	if _, err := classes.Create(ctx, c, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create the storage class: %w", err)
	}
	return nil
}

// class returns the class to create beside those that exist, or nil.
func class(exist []storagev1.StorageClass) *storagev1.StorageClass {
	if slices.ContainsFunc(exist, func(c storagev1.StorageClass) bool { return c.Name == Class }) {
		return nil
	}
	wait, reclaim := storagev1.VolumeBindingWaitForFirstConsumer, corev1.PersistentVolumeReclaimDelete
	c := &storagev1.StorageClass{
		ObjectMeta:        metav1.ObjectMeta{Name: Class},
		Provisioner:       Provisioner,
		VolumeBindingMode: &wait,
		ReclaimPolicy:     &reclaim,
	}
	if !slices.ContainsFunc(exist, func(c storagev1.StorageClass) bool { return c.Annotations[defaultClass] == "true" }) {
		c.Annotations = map[string]string{defaultClass: "true"}
	}
	return c
}

type provisioner struct{ dir string }

// Provision makes the directory of a claim.
func (p *provisioner) Provision(_ context.Context, o controller.ProvisionOptions) (*corev1.PersistentVolume, controller.ProvisioningState, error) {
	pv, err := volume(p.dir, o)
	if err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	path := pv.Spec.Local.Path
	if err := os.MkdirAll(path, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("create the volume: %w", err)
	}
	// Any user of a container may write, whatever our umask is.
	if err := os.Chmod(path, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("create the volume: %w", err)
	}
	return pv, controller.ProvisioningFinished, nil
}

// volume is the object for a claim, or why there cannot be one.
func volume(dir string, o controller.ProvisionOptions) (*corev1.PersistentVolume, error) {
	pvc := o.PVC
	if pvc.Spec.Selector != nil {
		return nil, errors.New("a claim with a selector cannot be provisioned")
	}
	if pvc.Spec.VolumeMode != nil && *pvc.Spec.VolumeMode != corev1.PersistentVolumeFilesystem {
		return nil, fmt.Errorf("volume mode %s is not supported, only Filesystem", *pvc.Spec.VolumeMode)
	}
	for k := range o.StorageClass.Parameters {
		return nil, fmt.Errorf("the storage class has the parameter %q, %s has none", k, Provisioner)
	}
	if o.SelectedNode == nil {
		return nil, errors.New("no node was selected: the storage class needs volumeBindingMode WaitForFirstConsumer")
	}
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: o.PVName},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *o.StorageClass.ReclaimPolicy,
			// One node: what may be mounted once may be mounted by many Pods.
			AccessModes: pvc.Spec.AccessModes,
			Capacity:    corev1.ResourceList{corev1.ResourceStorage: pvc.Spec.Resources.Requests[corev1.ResourceStorage]},
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				Local: &corev1.LocalVolumeSource{Path: filepath.Join(dir, dirName(o))},
			},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{o.SelectedNode.Name}}},
			}}}},
		},
	}, nil
}

// dirName lets a person find a claim's data.
func dirName(o controller.ProvisionOptions) string {
	return o.PVC.Namespace + "_" + o.PVC.Name + "_" + o.PVName
}

// Delete removes the directory of a volume.
func (p *provisioner) Delete(_ context.Context, pv *corev1.PersistentVolume) error {
	path, err := owned(p.dir, pv)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the volume: %w", err)
	}
	return nil
}

// owned returns the directory of a volume if it is directly below dir: the
// object could have been edited, and what is removed here is removed as root.
func owned(dir string, pv *corev1.PersistentVolume) (string, error) {
	if pv.Spec.Local == nil {
		return "", &controller.IgnoredError{Reason: "the volume is not a local one"}
	}
	path := filepath.Clean(pv.Spec.Local.Path)
	if filepath.Dir(path) != filepath.Clean(dir) || !strings.HasSuffix(path, "_"+pv.Name) {
		return "", fmt.Errorf("the volume's path %s is not one that %s made", path, Provisioner)
	}
	return path, nil
}
