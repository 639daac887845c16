package compare

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
)

// Track marks u as belonging to app. Cluster-scoped objects carry the
// destination's namespace in their mark. CustomResourceDefinitions are shared
// by nature and carry none.
func Track(u *unstructured.Unstructured, app, destination string) {
	if isDefinition(KeyOf(u)) {
		return
	}
	annotations := u.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[v1alpha1.AnnotationTrackingID] = trackingID(KeyOf(u), app, destination)
	u.SetAnnotations(annotations)
}

func trackingID(k Key, app, destination string) string {
	ns := k.Namespace
	if ns == "" {
		ns = destination
	}
	return app + ":" + k.Group + "/" + k.Kind + ":" + ns + "/" + k.Name
}

// Owner returns the Application that u says it belongs to. An object with a
// mark that was made for another object was copied, and belongs to none.
func Owner(u *unstructured.Unstructured) string {
	return OwnerByMark(KeyOf(u), u.GetAnnotations()[v1alpha1.AnnotationTrackingID])
}

// OwnerByMark is [Owner] for an object of which only key and mark are known.
func OwnerByMark(k Key, mark string) string {
	parts := strings.SplitN(mark, ":", 3)
	if len(parts) != 3 || parts[0] == "" {
		return ""
	}
	ns, name, ok := strings.Cut(parts[2], "/")
	if !ok || parts[1] != k.Group+"/"+k.Kind || name != k.Name || (k.Namespace != "" && ns != k.Namespace) {
		return ""
	}
	return parts[0]
}

func isDefinition(k Key) bool {
	return k.Group == "apiextensions.k8s.io" && k.Kind == "CustomResourceDefinition"
}
