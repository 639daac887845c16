// Package compare says how the objects of an Application differ from what the
// cluster has: which belong to it, what each should be, and whether it is.
//
// Everything here is pure but [Differ], which asks the API server by dry run
// what an object would become: only the server knows its defaults.
package compare

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Key names an object, whatever version of its kind it is written in.
type Key struct {
	Group, Kind, Namespace, Name string
}

// KeyOf returns the key of u.
func KeyOf(u *unstructured.Unstructured) Key {
	gvk := u.GroupVersionKind()
	return Key{gvk.Group, gvk.Kind, u.GetNamespace(), u.GetName()}
}

// GroupKind returns the kind of the object.
func (k Key) GroupKind() schema.GroupKind { return schema.GroupKind{Group: k.Group, Kind: k.Kind} }

// String returns "Deployment shop/web", or "Namespace shop" where there is no
// namespace.
func (k Key) String() string {
	kind := k.Kind
	if k.Group != "" && strings.Contains(k.Group, ".") && !strings.HasSuffix(k.Group, ".k8s.io") {
		kind += "." + k.Group
	}
	if k.Namespace == "" {
		return kind + " " + k.Name
	}
	return kind + " " + k.Namespace + "/" + k.Name
}
