//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
)

const siteApplication = `apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: site, namespace: argocd}
spec:
  project: default
  source: {repoURL: "http://penstock.localhost:7080/git/test/site.git", targetRevision: main, path: overlays/test}
  destination: {server: "https://kubernetes.default.svc", namespace: site}
  syncPolicy:
    automated: {prune: true, selfHeal: true}
    syncOptions: [CreateNamespace=true]
`

const siteDeployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {terminationGracePeriodSeconds: 0, containers: [{name: web, image: "penstock.localhost:7080/penstock/pause:1", imagePullPolicy: IfNotPresent}]}
`

// TestE2EGitOps pushes manifests and follows them into running Pods: applied,
// changed, pruned, healed.
func TestE2EGitOps(t *testing.T) {
	p := NewPlatform(t)
	p.Up(t)
	f := &faults{Platform: p}
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	overlay := func(replicas int) string {
		return fmt.Sprintf("resources: [../../base]\nreplicas: [{name: web, count: %d}]\n", replicas)
	}
	push := func(message string) {
		t.Helper()
		p.Git(t, dir, "add", "-A")
		p.Git(t, dir, "commit", "-q", "-m", message)
		p.Git(t, dir, "push", "-q", "origin", "main")
	}
	const deployment = "/apis/apps/v1/namespaces/site/deployments/web"
	replicas := func(ctx context.Context, want int32) error {
		var d appsv1.Deployment
		if err := f.kube(t).Get().AbsPath(deployment).Do(ctx).Into(&d); err != nil {
			return err
		}
		if d.Spec.Replicas == nil || *d.Spec.Replicas != want {
			return fmt.Errorf("it has %v replicas, not %d", d.Spec.Replicas, want)
		}
		return nil
	}

	write("base/kustomization.yaml", "resources: [deployment.yaml, service.yaml]\n")
	write("base/deployment.yaml", siteDeployment)
	write("base/service.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{port: 80}]}\n")
	write("overlays/test/kustomization.yaml", overlay(1))
	p.Run(t, "repo", "create", "test/site")
	p.Git(t, dir, "init", "-q")
	p.Git(t, dir, "remote", "add", "origin", "http://penstock.localhost:7080/git/test/site.git")
	push("one replica")
	f.kubectlApply(t, siteApplication)
	p.Run(t, "app", "wait", "site", "--timeout", "2m")

	best := time.Hour
	for i := range int32(4) {
		write("overlays/test/kustomization.yaml", overlay(int(2+i%2)))
		push("scale")
		start := time.Now()
		Eventually(t, 30*time.Second, "the push is applied", func(ctx context.Context) error { return replicas(ctx, 2+i%2) })
		best = min(best, time.Since(start))
		t.Logf("push to applied: %s", time.Since(start).Round(time.Millisecond))
	}
	if best > time.Second {
		t.Errorf("the fastest of 4 pushes was applied after %s, the budget is 1 s", best)
	}
	p.Run(t, "app", "wait", "site", "--timeout", "2m")

	write("base/kustomization.yaml", "resources: [deployment.yaml]\n")
	push("no Service any more")
	Eventually(t, 30*time.Second, "the Service is pruned", func(ctx context.Context) error {
		err := f.kube(t).Get().AbsPath("/api/v1/namespaces/site/services/web").Do(ctx).Error()
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err == nil:
			return errors.New("it is there")
		}
		return err
	})

	err := f.kube(t).Patch(types.MergePatchType).AbsPath(deployment).Body([]byte(`{"spec":{"replicas":7}}`)).Do(t.Context()).Error()
	if err != nil {
		t.Fatal(err)
	}
	Eventually(t, 30*time.Second, "the change by hand is undone", func(ctx context.Context) error { return replicas(ctx, 3) })
	p.Run(t, "app", "wait", "site", "--timeout", "2m")

	out := p.Run(t, "app", "get", "site")
	for _, want := range []string{"Synced with main", "Healthy", "Kustomize", "Deployment  site       web   Synced  Healthy"} {
		if !strings.Contains(out, want) {
			t.Errorf("app get does not say %q:\n%s", want, out)
		}
	}
	p.Run(t, "app", "sync", "site", "--wait", "--timeout", "1m")
	if out, err := p.Try(time.Minute, "app", "sync", "site", "--revision", "nowhere"); err == nil {
		t.Errorf("a sync to a revision that does not exist succeeds:\n%s", out)
	}
}
