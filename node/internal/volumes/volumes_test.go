package volumes

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v11/controller"
)

func options() controller.ProvisionOptions {
	reclaim := corev1.PersistentVolumeReclaimDelete
	return controller.ProvisionOptions{
		PVName:       "pvc-1",
		StorageClass: &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: Class}, ReclaimPolicy: &reclaim},
		SelectedNode: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "penstock"}},
		PVC: &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "data"},
			Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
			},
		},
	}
}

func TestProvisionAndDelete(t *testing.T) {
	p := &provisioner{t.TempDir()}
	pv, state, err := p.Provision(t.Context(), options())
	if err != nil || state != controller.ProvisioningFinished {
		t.Fatal(state, err)
	}
	want := filepath.Join(p.dir, "shop_data_pvc-1")
	if pv.Spec.Local.Path != want {
		t.Errorf("path %s, want %s", pv.Spec.Local.Path, want)
	}
	if st, err := os.Stat(want); err != nil || st.Mode().Perm() != 0o777 {
		t.Errorf("%v, %v", st, err)
	}
	if pv.Spec.Capacity.Storage().String() != "1Gi" || pv.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Values[0] != "penstock" {
		t.Errorf("got %+v", pv.Spec)
	}
	// Provisioning is repeated when the object could not be written.
	if _, _, err := p.Provision(t.Context(), options()); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := p.Delete(t.Context(), pv); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(want); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
}

func TestVolumeRefuses(t *testing.T) {
	block := corev1.PersistentVolumeBlock
	for want, change := range map[string]func(*controller.ProvisionOptions){
		"selector":             func(o *controller.ProvisionOptions) { o.PVC.Spec.Selector = &metav1.LabelSelector{} },
		"volume mode Block":    func(o *controller.ProvisionOptions) { o.PVC.Spec.VolumeMode = &block },
		"parameter \"fsType\"": func(o *controller.ProvisionOptions) { o.StorageClass.Parameters = map[string]string{"fsType": "xfs"} },
		"WaitForFirstConsumer": func(o *controller.ProvisionOptions) { o.SelectedNode = nil },
	} {
		o := options()
		change(&o)
		if _, err := volume("/v", o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// TestDeleteStaysBelow: an edited object must not make us remove other files.
func TestDeleteStaysBelow(t *testing.T) {
	root := t.TempDir()
	p := &provisioner{filepath.Join(root, "volumes")}
	precious := filepath.Join(root, "precious_pvc-1")
	if err := os.MkdirAll(precious, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{precious, p.dir, p.dir + "/../precious_pvc-1", p.dir + "/other_claim_pvc-2", "/", ""} {
		pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pvc-1"}}
		pv.Spec.Local = &corev1.LocalVolumeSource{Path: path}
		if err := p.Delete(t.Context(), pv); err == nil {
			t.Errorf("%q was accepted", path)
		}
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
	var ignored *controller.IgnoredError
	if err := p.Delete(t.Context(), &corev1.PersistentVolume{}); !errors.As(err, &ignored) {
		t.Errorf("a volume of another kind: %v", err)
	}
}

func TestClass(t *testing.T) {
	other := storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "mine", Annotations: map[string]string{defaultClass: "true"}}}
	if c := class(nil); c == nil || c.Annotations[defaultClass] != "true" {
		t.Errorf("alone it is %+v, want the default", c)
	}
	if c := class([]storagev1.StorageClass{other}); c == nil || c.Annotations[defaultClass] != "" {
		t.Errorf("beside another default it is %+v", c)
	}
	if c := class([]storagev1.StorageClass{{ObjectMeta: metav1.ObjectMeta{Name: Class}}}); c != nil {
		t.Errorf("one that is there is replaced by %+v", c)
	}
}
