package compare

import (
	"encoding/base64"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Scope says whether objects of a kind have a namespace; known is false when
// the cluster does not have the kind.
type Scope func(gk schema.GroupVersionKind) (namespaced, known bool, err error)

// Targets makes rendered objects into what the cluster should have: in their
// namespaces, marked as the application's. It changes the objects. Of objects
// with one key the last one counts; repeated names them.
func Targets(rendered []*unstructured.Unstructured, app, namespace string, scope Scope) (targets []*unstructured.Unstructured, repeated []string, err error) {
	at := map[Key]int{}
	var unserved []string
	for _, u := range rendered {
		if u.GetName() == "" {
			return nil, nil, fmt.Errorf("%s: an object has no name", u.GetKind())
		}
		if err := place(u, namespace, scope); err != nil {
			return nil, nil, err
		}
		clean(u)
		k := KeyOf(u)
		if _, bad := OptionsOf(u); len(bad) > 0 {
			unserved = append(unserved, fmt.Sprintf("%s: %s", k, strings.Join(bad, ", ")))
		}
		Track(u, app, namespace)
		if i, ok := at[k]; ok {
			repeated = append(repeated, k.String())
			targets[i] = u
			continue
		}
		at[k] = len(targets)
		targets = append(targets, u)
	}
	if len(unserved) > 0 {
		return nil, nil, fmt.Errorf("not served by this version: %s", strings.Join(unserved, "; "))
	}
	return targets, repeated, nil
}

// place puts u into its namespace. A kind that the cluster does not have is
// taken for a namespaced one unless the object says nothing.
func place(u *unstructured.Unstructured, namespace string, scope Scope) error {
	namespaced, known, err := scope(u.GroupVersionKind())
	switch {
	case err != nil:
		return err
	case known && !namespaced:
		u.SetNamespace("")
	case namespaced || !known:
		if u.GetNamespace() == "" {
			u.SetNamespace(namespace)
		}
		if u.GetNamespace() == "" && known {
			return fmt.Errorf("%s %s has no namespace, and neither has spec.destination", u.GetKind(), u.GetName())
		}
	}
	return nil
}

// clean takes from u what only a live object has, and writes it as the API
// server stores it where that matters.
func clean(u *unstructured.Unstructured) {
	unstructured.RemoveNestedField(u.Object, "status")
	for _, f := range []string{"creationTimestamp", "managedFields", "resourceVersion", "uid", "generation", "selfLink"} {
		unstructured.RemoveNestedField(u.Object, "metadata", f)
	}
	if k := KeyOf(u); k.Group == "" && k.Kind == "Secret" {
		encodeStringData(u)
	}
}

// encodeStringData moves stringData into data, as the server would: applied as
// it is, a key that leaves stringData would stay in data for ever.
func encodeStringData(u *unstructured.Unstructured) {
	plain, ok := u.Object["stringData"].(map[string]any)
	if !ok {
		return
	}
	data, _ := u.Object["data"].(map[string]any)
	if data == nil {
		data = map[string]any{}
	}
	for name, v := range plain {
		s, ok := v.(string)
		if !ok {
			return // the server says what is wrong with it
		}
		data[name] = base64.StdEncoding.EncodeToString([]byte(s))
	}
	u.Object["data"] = data
	delete(u.Object, "stringData")
}
