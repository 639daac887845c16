package runner_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/ci/actions"
	"github.com/penstock-dev/penstock/internal/ci/jobdir"
	"github.com/penstock-dev/penstock/internal/ci/runner"
)

// recorder notes what it is asked to build.
type recorder struct {
	build actions.Build
	files map[string]string // of the context, and "Dockerfile*" beside it
	err   error
}

func (r *recorder) Build(_ context.Context, b actions.Build, log func(string)) (actions.Built, error) {
	r.build, r.files = b, map[string]string{}
	for _, dir := range []string{b.Context, filepath.Dir(b.Dockerfile)} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return actions.Built{}, err
		}
		for _, e := range entries {
			if e.Type().IsRegular() {
				text, err := os.ReadFile(filepath.Join(dir, e.Name()))
				if err != nil {
					return actions.Built{}, err
				}
				r.files[map[bool]string{true: "context/"}[dir == b.Context]+e.Name()] = string(text)
			}
		}
	}
	log("#1 [internal] load build definition")
	return actions.Built{ImageID: "sha256:1d", Digest: "sha256:d1", Metadata: []byte(`{"a":1}`)}, r.err
}

func TestBuildPush(t *testing.T) {
	dir := prepare(t, job(`
      - run: mkdir app; echo 'FROM scratch' > app/Containerfile; echo '*.o' > app/Containerfile.dockerignore; echo x > app/x; ln -s /etc/passwd app/link
      - id: b
        uses: docker/build-push-action@v6
        with:
          context: app
          file: app/Containerfile
          push: true
          tags: |
            penstock.localhost:7080/demo/shop:${{ github.sha }}
            penstock.localhost:7080/demo/shop:latest
          build-args: A=1
          labels: |
            x=y z
            empty=
          secrets: key=s3cr3t-value
          target: final
          platforms: linux/amd64,linux/arm64
          no-cache: true
      - run: echo '${{ steps.b.outputs.digest }} ${{ steps.b.outputs.imageid }} ${{ fromJSON(steps.b.outputs.metadata).a }}'; echo s3cr3t-value
`))
	var rec recorder
	o := options(dir)
	o.Actions = actions.New(&rec)
	if err := runner.Run(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	r := collect(t, dir)
	if r.end.Conclusion != "success" || !strings.Contains(r.log, "\nsha256:d1 sha256:1d 1\n***\n") || !strings.Contains(r.log, "#1 [internal] load build definition\n") {
		t.Errorf("%s\n%s", r.end.Conclusion, r.log)
	}
	b := rec.build
	want := actions.Build{Context: b.Context, Dockerfile: b.Dockerfile, Target: "final", Args: map[string]string{"A": "1"}, Labels: map[string]string{"x": "y z", "empty": ""},
		Platforms: []string{"linux/amd64", "linux/arm64"}, Tags: []string{"penstock.localhost:7080/demo/shop:" + strings.Repeat("a", 40), "penstock.localhost:7080/demo/shop:latest"},
		Secrets: map[string][]byte{"key": []byte("s3cr3t-value")}, NoCache: true, Push: true, Token: "pjt_0123456789abcdef"}
	if d := cmp.Diff(want, b); d != "" {
		t.Errorf("build (-want +got):\n%s", d)
	}
	var images []jobdir.Image
	for _, e := range r.entries {
		if e.Type == jobdir.Artifact {
			images = append(images, *e.Image)
		}
	}
	if d := cmp.Diff([]jobdir.Image{{Digest: "sha256:d1", Tags: b.Tags, Pushed: b.Tags}}, images); d != "" {
		t.Errorf("images reported (-want +got):\n%s", d)
	}
	files := map[string]string{"context/Containerfile": "FROM scratch\n", "context/Containerfile.dockerignore": "*.o\n", "context/x": "x\n",
		"Containerfile": "FROM scratch\n", "Containerfile.dockerignore": "*.o\n"}
	if d := cmp.Diff(files, rec.files); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	if strings.HasPrefix(b.Context, string(dir)+"/work") || strings.HasPrefix(b.Context, string(dir)+"/temp") {
		t.Errorf("context %s is where the job can change it", b.Context)
	}
}

// TestBuildPushDefaultContext builds the commit, not the workspace.
func TestBuildPushDefaultContext(t *testing.T) {
	f := newForge(t)
	if err := os.WriteFile(filepath.Join(f.clone, "Dockerfile"), []byte("FROM scratch\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	sha := f.commit("one")
	f.git("push", "-q", "origin", "main")
	var rec recorder
	f.actions = &rec
	r := f.run("refs/heads/main", sha, "      - run: echo dirt > dirt\n      - uses: docker/build-push-action@v5\n        with: {push: true, tags: r.example/demo/a/b}\n      - run: ls -A $RUNNER_TEMP\n")
	if r.end.Conclusion != "success" {
		t.Errorf("%s\n%s", r.end.Conclusion, r.log)
	}
	if d := cmp.Diff(map[string]string{"context/Dockerfile": "FROM scratch\n", "context/file": "one\n", "Dockerfile": "FROM scratch\n"}, rec.files); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	if strings.Contains(r.log, "\ngit-credentials") {
		t.Errorf("credentials stay:\n%s", r.log)
	}
}

func TestBuildPushRefuses(t *testing.T) {
	for with, want := range map[string]string{
		"push: true, context: ., tags: r.example/demo/a":                       "read Dockerfile 'Dockerfile'",
		"push: true, context: /etc, tags: r.example/demo/a":                    "context: '/etc' is not inside the workspace",
		"push: true, context: 'https://x/y.git'":                               "contexts by URL are not supported yet",
		"push: true, context: ., file: ../../job.json, tags: r.example/demo/a": "file: '../../job.json' is not inside the workspace",
		"context: ., provenance: mode=max":                                     "input 'provenance' of docker/build-push-action@v6: attestations come with a later version",
		"context: ., cache-from: type=gha":                                     "type=gha is not supported yet",
		"context: ., build-args: novalue":                                      "build-args: 'novalue' is not NAME=VALUE",
		"context: ., outputs: type=local":                                      "input 'outputs'",
	} {
		t.Run(with, func(t *testing.T) {
			dir := prepare(t, job("      - uses: docker/build-push-action@v6\n        with: {"+with+"}\n"))
			o := options(dir)
			o.Actions = actions.New(&recorder{err: errors.New("built")})
			if err := runner.Run(context.Background(), o); err != nil {
				t.Fatal(err)
			}
			if r := collect(t, dir); r.end.Conclusion != "failure" || !strings.Contains(r.log, want) {
				t.Errorf("%s, no %q:\n%s", r.end.Conclusion, want, r.log)
			}
		})
	}
}
