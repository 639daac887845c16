//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/penstock-dev/penstock/internal/face/client"
)

// kube asks the API server as its administrator.
func (f *faults) kube(t *testing.T) *rest.RESTClient {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", filepath.Join(f.DataDir, "node", "admin.kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.QPS = -1
	cfg.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	c, err := rest.UnversionedRESTClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// get reads path of the API server into v. While the API server restarts, it
// tries again.
func (f *faults) get(t *testing.T, v any, path string) {
	t.Helper()
	Eventually(t, 90*time.Second, "GET "+path, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		b, err := f.kube(t).Get().AbsPath(path).DoRaw(ctx)
		if err != nil {
			return err
		}
		return json.Unmarshal(b, v)
	})
}

// kubectlApply applies one manifest, with its namespace, as kubectl would.
func (f *faults) kubectlApply(t *testing.T, manifest string) {
	t.Helper()
	var o struct {
		Metadata struct{ Name, Namespace string }
	}
	if err := yaml.Unmarshal([]byte(manifest), &o); err != nil {
		t.Fatal(err)
	}
	ns := fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n", o.Metadata.Namespace)
	Eventually(t, time.Minute, "apply "+o.Metadata.Name, func(ctx context.Context) error {
		for path, body := range map[string]string{
			"/api/v1/namespaces/" + o.Metadata.Namespace:                                                         ns,
			"/apis/argoproj.io/v1alpha1/namespaces/" + o.Metadata.Namespace + "/applications/" + o.Metadata.Name: manifest,
		} {
			err := f.kube(t).Patch(types.ApplyYAMLPatchType).AbsPath(path).Param("fieldManager", "e2e").Param("force", "true").Body([]byte(body)).Do(ctx).Error()
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// api reads path of the Penstock server into v. While the server restarts, it
// tries again.
func (f *faults) api(t *testing.T, v any, path string) {
	t.Helper()
	Eventually(t, 90*time.Second, "GET "+path, func(ctx context.Context) error {
		c, err := client.New("http://penstock.localhost:7080", f.DataDir)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		return c.Do(ctx, http.MethodGet, path, nil, v)
	})
}
