package v1alpha1

import (
	"embed"
	"fmt"
	"io/fs"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// Resources of the served kinds.
var (
	Applications = schema.GroupVersionResource{Group: Group, Version: Version, Resource: "applications"}
	AppProjects  = schema.GroupVersionResource{Group: Group, Version: Version, Resource: "appprojects"}
)

//go:embed crds/*.yaml
var crdFiles embed.FS

// CRDs returns the CustomResourceDefinitions of the served kinds.
func CRDs() ([]*unstructured.Unstructured, error) {
	names, err := fs.Glob(crdFiles, "crds/*.yaml")
	if err != nil {
		return nil, err
	}
	var out []*unstructured.Unstructured
	for _, name := range names {
		b, err := crdFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		u := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict(b, &u.Object); err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		out = append(out, u)
	}
	return out, nil
}
