// Package crd holds the definitions of the Gateway API kinds that the gateway
// serves, as the project sigs.k8s.io/gateway-api publishes them (version 1.6.3,
// standard channel, Apache License 2.0, see LICENSE). They are installed only
// where a cluster has none.
package crd

import (
	"embed"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

//go:embed *.yaml
var files embed.FS

// Definitions returns the CustomResourceDefinitions.
func Definitions() ([]*unstructured.Unstructured, error) {
	entries, err := files.ReadDir(".")
	if err != nil {
		return nil, fmt.Errorf("read definitions: %w", err)
	}
	var out []*unstructured.Unstructured
	for _, e := range entries {
		b, err := files.ReadFile(e.Name())
		if err != nil {
			return nil, fmt.Errorf("read definitions: %w", err)
		}
		u := new(unstructured.Unstructured)
		if err := yaml.Unmarshal(b, &u.Object); err != nil {
			return nil, fmt.Errorf("decode definition %s: %w", e.Name(), err)
		}
		out = append(out, u)
	}
	return out, nil
}
