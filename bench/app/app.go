// Package app is the smallest application that goes the whole way from a push to
// an answer: an image of busybox and one page, a workflow that builds it and
// writes its digest to a second repository, and an Argo CD Application. The
// benchmarks and the end-to-end tests push it.
package app

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Repositories and the host under which the application answers.
const (
	Source    = "bench/app"
	Manifests = "bench/app-manifests"
	Namespace = "bench-app"
	Host      = "bench-app.localhost"
	Name      = "bench-app" // of the Application
	Image     = "penstock.localhost:7080/bench/app"
)

// Busybox is a static busybox of this machine.
const Busybox = "/bin/busybox"

const workflow = `name: deliver
on:
  push:
    branches: [main]
permissions:
  contents: write # of the manifests
jobs:
  deliver:
    runs-on: ubuntu-latest
    steps:
      - name: First line
        run: echo "the first line"
      - uses: actions/checkout@v4
      - id: build
        uses: docker/build-push-action@v6
        with:
          context: .
          push: true
          tags: ` + Image + `:${{ github.sha }}
      - uses: actions/checkout@v4
        with:
          repository: ` + Manifests + `
          path: manifests
      - name: Deploy
        working-directory: manifests
        env:
          DIGEST: ${{ steps.build.outputs.digest }}
        run: |
          sed -i -e "s/digest: .*/digest: $DIGEST/" -e 's/count: 0/count: ` + replicas + `/' kustomization.yaml
          git config user.name ci
          git config user.email ci@bench.example
          git commit --quiet --all --message "run ${{ github.sha }}"
          git push --quiet origin HEAD:main
`

const replicas = "2"

const dockerfile = `FROM scratch
COPY busybox /busybox
COPY www /www
USER 1000
ENTRYPOINT ["/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]
`

const kustomization = `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [app.yaml]
images:
- name: app
  newName: ` + Image + `
  digest: sha256:0000000000000000000000000000000000000000000000000000000000000000
replicas:
- name: app
  count: 0
`

const manifests = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: app
spec:
  selector: {matchLabels: {app: app}}
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  template:
    metadata:
      labels: {app: app}
    spec:
      terminationGracePeriodSeconds: 5
      automountServiceAccountToken: false
      containers:
      - name: app
        image: app
        imagePullPolicy: IfNotPresent
        ports: [{containerPort: 8080}]
        readinessProbe:
          httpGet: {path: /, port: 8080}
          periodSeconds: 1
        lifecycle:
          preStop: {sleep: {seconds: 1}}
---
apiVersion: v1
kind: Service
metadata:
  name: app
spec:
  selector: {app: app}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: app
spec:
  rules:
  - host: ` + Host + `
    http:
      paths: [{path: /, pathType: Prefix, backend: {service: {name: app, port: {number: 80}}}}]
`

// Application is the manifest of the Argo CD Application.
const Application = `apiVersion: argoproj.io/v1alpha1
kind: Application
metadata:
  name: ` + Name + `
  namespace: argocd
spec:
  project: default
  source:
    repoURL: http://penstock.localhost:7080/git/` + Manifests + `.git
    targetRevision: main
    path: .
  destination:
    server: https://kubernetes.default.svc
    namespace: ` + Namespace + `
  syncPolicy:
    automated: {prune: true, selfHeal: true}
    syncOptions: [CreateNamespace=true]
`

// WriteSource makes dir the working tree of the source repository.
func WriteSource(dir, page string) error {
	busybox, err := os.ReadFile(Busybox)
	if err != nil {
		return fmt.Errorf("read busybox: %w (apt-get install busybox-static)", err)
	}
	if err := static(busybox); err != nil {
		return fmt.Errorf("use %s: %w (apt-get install busybox-static)", Busybox, err)
	}
	if err := write(dir, "busybox", string(busybox), 0o755); err != nil {
		return err
	}
	if err := write(dir, "Dockerfile", dockerfile, 0o644); err != nil {
		return err
	}
	if err := write(dir, ".github/workflows/deliver.yml", workflow, 0o644); err != nil {
		return err
	}
	return SetPage(dir, page)
}

// SetPage changes what the application answers.
func SetPage(dir, page string) error { return write(dir, "www/index.html", page+"\n", 0o644) }

// WriteManifests makes dir the working tree of the manifest repository.
func WriteManifests(dir string) error {
	if err := write(dir, "app.yaml", manifests, 0o644); err != nil {
		return err
	}
	return write(dir, "kustomization.yaml", kustomization, 0o644)
}

// SetReplicas changes the manifests by hand, as a person would.
func SetReplicas(dir string, n int) error {
	file := filepath.Join(dir, "kustomization.yaml")
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	head, _, ok := strings.Cut(string(b), "  count: ")
	if !ok {
		return fmt.Errorf("%s has no count", file)
	}
	return os.WriteFile(file, fmt.Appendf(nil, "%s  count: %d\n", head, n), 0o644)
}

func write(dir, name, content string, mode os.FileMode) error {
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content), mode)
}

// static refuses a program that needs libraries: the image has none.
func static(program []byte) error {
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return err
	}
	libs, err := f.ImportedLibraries()
	if err != nil {
		return err
	}
	if len(libs) > 0 {
		return fmt.Errorf("it needs %s", strings.Join(libs, ", "))
	}
	return nil
}
