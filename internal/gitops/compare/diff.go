package compare

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// serverFields are the fields of metadata that the API server keeps, and that
// say nothing about what an object is.
var serverFields = []string{"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"}

// essence returns u without what the server and controllers keep in it.
func essence(u *unstructured.Unstructured) map[string]any {
	out := make(map[string]any, len(u.Object))
	for k, v := range u.Object {
		if k != "status" && k != "apiVersion" {
			out[k] = v
		}
	}
	meta, _ := u.Object["metadata"].(map[string]any)
	m := make(map[string]any, len(meta))
	for k, v := range meta {
		if !slices.Contains(serverFields, k) {
			m[k] = v
		}
	}
	out["metadata"] = m
	return out
}

// Change is one field that differs.
type Change struct {
	Path     string
	From, To any // nil: is not there
}

// Changes lists the fields in which next differs from live.
func Changes(live, next *unstructured.Unstructured) []Change {
	var out []Change
	walk("", essence(live), essence(next), &out)
	return out
}

func walk(path string, a, b any, out *[]Change) {
	if reflect.DeepEqual(a, b) {
		return
	}
	am, aok := a.(map[string]any)
	bm, bok := b.(map[string]any)
	if aok && bok {
		for _, k := range keys(am, bm) {
			walk(join(path, k), am[k], bm[k], out)
		}
		return
	}
	al, aok := a.([]any)
	bl, bok := b.([]any)
	if aok && bok && len(al) == len(bl) {
		for i := range al {
			walk(path+"["+label(al[i], i)+"]", al[i], bl[i], out)
		}
		return
	}
	*out = append(*out, Change{path, a, b})
}

func keys(a, b map[string]any) []string {
	var ks []string
	for k := range a {
		ks = append(ks, k)
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			ks = append(ks, k)
		}
	}
	slices.Sort(ks)
	return ks
}

func join(path, key string) string {
	if strings.ContainsAny(key, "./") {
		key = "[" + key + "]"
	} else if path != "" {
		key = "." + key
	}
	return path + key
}

// label names an element of a list: by its name where it has one.
func label(v any, i int) string {
	if m, ok := v.(map[string]any); ok {
		if n, ok := m["name"].(string); ok && n != "" {
			return n
		}
	}
	return strconv.Itoa(i)
}

// Words says in a line what the changes are. Values of secret objects are not
// shown.
func Words(changes []Change, secret bool) string {
	const shown = 3
	var parts []string
	for i, c := range changes {
		if i == shown {
			parts = append(parts, fmt.Sprintf("and %d more", len(changes)-shown))
			break
		}
		switch {
		case secret:
			parts = append(parts, c.Path+" differs")
		case c.To == nil:
			parts = append(parts, fmt.Sprintf("%s %s goes", c.Path, value(c.From)))
		case c.From == nil:
			parts = append(parts, fmt.Sprintf("%s becomes %s", c.Path, value(c.To)))
		default:
			parts = append(parts, fmt.Sprintf("%s is %s, becomes %s", c.Path, value(c.From), value(c.To)))
		}
	}
	return strings.Join(parts, "; ")
}

func value(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	if r := []rune(string(b)); len(r) > 60 {
		return string(r[:57]) + "..."
	}
	return string(b)
}
