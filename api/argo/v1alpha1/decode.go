package v1alpha1

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// DecodeApplication reads an Application. unserved names the fields of spec
// and operation that this version does not serve; the object is usable for
// everything but acting on it.
func DecodeApplication(u *unstructured.Unstructured) (app *Application, unserved []string, err error) {
	app = &Application{}
	if err := decodeTolerant(u.Object, app); err != nil {
		return nil, nil, fmt.Errorf("decode application: %w", err)
	}
	for _, part := range []string{"spec", "operation"} {
		if raw, ok := u.Object[part].(map[string]any); ok {
			var into any = &ApplicationSpec{}
			if part == "operation" {
				into = &Operation{}
			}
			unserved = append(unserved, unknownFields(part, raw, into)...)
		}
	}
	return app, unserved, nil
}

// DecodeProject reads an AppProject; unserved as for DecodeApplication.
func DecodeProject(u *unstructured.Unstructured) (p *AppProject, unserved []string, err error) {
	p = &AppProject{}
	if err := decodeTolerant(u.Object, p); err != nil {
		return nil, nil, fmt.Errorf("decode project: %w", err)
	}
	if raw, ok := u.Object["spec"].(map[string]any); ok {
		unserved = unknownFields("spec", raw, &AppProjectSpec{})
	}
	return p, unserved, nil
}

func decodeTolerant(raw map[string]any, into any) error {
	return runtime.DefaultUnstructuredConverter.FromUnstructured(raw, into)
}

// unknownFields lists the paths in raw that the type of into does not have.
func unknownFields(at string, raw map[string]any, into any) []string {
	err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(raw, into, true)
	if err == nil {
		return nil
	}
	strict, ok := runtime.AsStrictDecodingError(err)
	if !ok {
		return []string{at + ": " + err.Error()}
	}
	var fields []string
	for _, e := range strict.Errors() {
		fields = append(fields, at+"."+fieldOf(e))
	}
	slices.Sort(fields)
	return slices.Compact(fields)
}

// fieldOf takes the path out of `unknown field "source.helm"`.
func fieldOf(err error) string {
	for ; errors.Unwrap(err) != nil; err = errors.Unwrap(err) {
	}
	s, ok := strings.CutPrefix(err.Error(), "unknown field ")
	if !ok {
		return err.Error()
	}
	if path, err := strconv.Unquote(s); err == nil {
		return path
	}
	return s
}
