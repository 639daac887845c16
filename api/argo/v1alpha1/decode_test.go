package v1alpha1_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
)

func TestDecodeNamesWhatIsNotServed(t *testing.T) {
	for _, tt := range []struct {
		name, spec string
		want       []string
	}{
		{"all served", `
project: default
source: {repoURL: http://x/y.git, path: a, targetRevision: main, kustomize: {images: [a=b:1], replicas: [{name: w, count: "3"}]}}
destination: {server: https://kubernetes.default.svc, namespace: ns}
syncPolicy: {automated: {prune: true, selfHeal: true}, syncOptions: [CreateNamespace=true], retry: {limit: 5, backoff: {duration: 5s, factor: 2, maxDuration: 3m}}}
`, nil},
		{"helm", `
project: default
source: {repoURL: http://x/y.git, path: a, helm: {values: "a: 1"}}
destination: {namespace: ns}
`, []string{"spec.source.helm"}},
		{"several at once, deep ones too", `
project: default
sources: []
ignoreDifferences: [{kind: Deployment}]
source: {repoURL: http://x/y.git, path: a, kustomize: {patches: []}}
destination: {namespace: ns}
syncPolicy: {managedNamespaceMetadata: {labels: {a: b}}}
`, []string{"spec.ignoreDifferences", "spec.source.kustomize.patches", "spec.sources", "spec.syncPolicy.managedNamespaceMetadata"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := &unstructured.Unstructured{Object: map[string]any{}}
			var spec map[string]any
			if err := yaml.Unmarshal([]byte(tt.spec), &spec); err != nil {
				t.Fatal(err)
			}
			u.Object["spec"] = spec
			app, unserved, err := v1alpha1.DecodeApplication(u)
			if err != nil {
				t.Fatal(err)
			}
			if app.Spec.Project != "default" {
				t.Errorf("project = %q", app.Spec.Project)
			}
			if d := cmp.Diff(tt.want, unserved); d != "" {
				t.Errorf("unserved (-want +got):\n%s", d)
			}
		})
	}
}

func TestCRDsParse(t *testing.T) {
	crds, err := v1alpha1.CRDs()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range crds {
		names = append(names, c.GetName())
	}
	if d := cmp.Diff([]string{"applications.argoproj.io", "appprojects.argoproj.io"}, names); d != "" {
		t.Errorf("CRDs (-want +got):\n%s", d)
	}
}
