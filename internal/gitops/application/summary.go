package application

import (
	"fmt"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/gitops/compare"
)

// podSpecs are where kinds keep the description of their pods.
var podSpecs = map[string][]string{
	"Pod":         {"spec"},
	"Deployment":  {"spec", "template", "spec"},
	"StatefulSet": {"spec", "template", "spec"},
	"DaemonSet":   {"spec", "template", "spec"},
	"ReplicaSet":  {"spec", "template", "spec"},
	"Job":         {"spec", "template", "spec"},
	"CronJob":     {"spec", "jobTemplate", "spec", "template", "spec"},
}

// summarize collects images and links from live objects. Argo CD takes images
// from pods; here they come from what makes the pods, which names the same.
func summarize(resources []compare.Resource, port int) v1alpha1.Summary {
	var s v1alpha1.Summary
	for _, r := range resources {
		if r.Live == nil {
			continue
		}
		if at, ok := podSpecs[r.Kind]; ok {
			s.Images = append(s.Images, images(r.Live, at)...)
		}
		if r.Kind == "Ingress" && r.Group == "networking.k8s.io" {
			s.ExternalURLs = append(s.ExternalURLs, links(r.Live, port)...)
		}
	}
	slices.Sort(s.Images)
	slices.Sort(s.ExternalURLs)
	s.Images, s.ExternalURLs = slices.Compact(s.Images), slices.Compact(s.ExternalURLs)
	return s
}

func images(u *unstructured.Unstructured, at []string) []string {
	var out []string
	for _, list := range []string{"initContainers", "containers"} {
		containers, _, _ := unstructured.NestedSlice(u.Object, append(slices.Clone(at), list)...)
		for _, c := range containers {
			if m, ok := c.(map[string]any); ok {
				if image, ok := m["image"].(string); ok && image != "" {
					out = append(out, image)
				}
			}
		}
	}
	return out
}

func links(u *unstructured.Unstructured, port int) []string {
	var i networkingv1.Ingress
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &i); err != nil {
		return nil
	}
	tls := map[string]bool{}
	for _, t := range i.Spec.TLS {
		for _, h := range t.Hosts {
			tls[h] = true
		}
	}
	var out []string
	for _, rule := range i.Spec.Rules {
		if rule.Host == "" || rule.HTTP == nil {
			continue
		}
		base := "http://" + rule.Host
		switch {
		case tls[rule.Host]:
			base = "https://" + rule.Host
		case port != 0 && port != 80:
			base += fmt.Sprintf(":%d", port)
		}
		for _, p := range rule.HTTP.Paths {
			path := p.Path
			if path == "" {
				path = "/"
			}
			out = append(out, base+path)
		}
	}
	return out
}
