//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// builtDockerfile has several stages, a cache mount and a secret. The program
// of the image prints what the stages made.
const builtDockerfile = `# syntax=docker/dockerfile:1
FROM scratch AS tools
COPY busybox /bin/busybox
SHELL ["/bin/busybox", "sh", "-c"]

FROM tools AS compile
ARG VERSION
RUN --mount=type=cache,target=/cache busybox echo "version $VERSION" | busybox tee /cache/v > /out

FROM tools AS test
RUN --mount=type=secret,id=token busybox test "$(busybox cat /run/secrets/token)" = hunter2 && busybox echo tested > /tested

FROM scratch
COPY busybox /bin/busybox
COPY --from=compile /out /
COPY --from=test /tested /
ENTRYPOINT ["/bin/busybox", "sh", "-c", "busybox cat /out /tested; exec busybox sleep 3600"]
`

// TestE2EBuild builds images on the command line and runs them in Pods.
func TestE2EBuild(t *testing.T) {
	p := NewPlatform(t)
	p.Up(t)
	f := &faults{Platform: p}
	dir := t.TempDir()
	box, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, "busybox"), box, 0o755),
		os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(builtDockerfile), 0o644),
		os.WriteFile(filepath.Join(dir, "token"), []byte("hunter2"), 0o600),
		os.WriteFile(filepath.Join(dir, ".dockerignore"), []byte("token\n"), 0o644),
	); err != nil {
		t.Fatal(err)
	}
	secret := "id=token,src=" + filepath.Join(dir, "token")
	out := strings.TrimSpace(p.Run(t, "build", "--tag", "built:1", "--tag", "penstock.localhost:7080/test/built:1", "--build-arg", "VERSION=1", "--secret", secret, dir))
	lines := strings.Split(out, "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[1], "penstock.localhost:7080/test/built:1@sha256:") {
		t.Fatalf("penstock build prints %q", out)
	}
	_, digest, _ := strings.Cut(lines[1], "@")

	f.pod(t, "by-tag", "built:1")
	f.pod(t, "by-digest", "penstock.localhost:7080/test/built@"+digest)
	f.wantLog(t, "by-tag", "version 1\ntested\n")
	f.wantLog(t, "by-digest", "version 1\ntested\n")

	t.Run("from Git", func(t *testing.T) {
		p.Run(t, "repo", "create", "test/built")
		if err := os.Remove(filepath.Join(dir, "token")); err != nil {
			t.Fatal(err)
		}
		f.begin(t, dir, "test/built")
		f.Git(t, dir, "push", "-q", "origin", "main")
		t.Setenv("E2E_TOKEN", "hunter2")
		p.Run(t, "build", "--tag", "built:git", "--build-arg", "VERSION=git", "--secret", "id=token,env=E2E_TOKEN", "http://penstock.localhost:7080/git/test/built.git#main")
		f.pod(t, "from-git", "built:git")
		f.wantLog(t, "from-git", "version git\ntested\n")
	})
	t.Run("the node is killed and comes back", func(t *testing.T) {
		slow := strings.Replace(builtDockerfile, "RUN --mount=type=cache", "RUN busybox sleep 4\nRUN --mount=type=cache", 1)
		if err := os.WriteFile(filepath.Join(dir, "Dockerfile.slow"), []byte(slow), 0o644); err != nil {
			t.Fatal(err)
		}
		pid := f.PID(t, "node")
		type result struct {
			out string
			err error
		}
		done := make(chan result, 1)
		go func() {
			out, err := p.Try(4*time.Minute, "build", "--tag", "built:slow", "--build-arg", "VERSION=slow", "--secret", "id=token,env=E2E_TOKEN", "--file", filepath.Join(dir, "Dockerfile.slow"), dir)
			done <- result{out, err}
		}()
		t.Setenv("E2E_TOKEN", "hunter2")
		time.Sleep(2 * time.Second) // into the sleep of the step; a kill before or after it must be survived as well
		kill(t, pid)
		r := <-done
		if r.err != nil {
			t.Fatalf("%v\n%s", r.err, r.out)
		}
		f.awaitReady(t)
		f.pod(t, "after-kill", "built:slow")
		f.wantLog(t, "after-kill", "version slow\ntested\n")
		f.wantLog(t, "by-tag", "version 1\ntested\n") // not restarted
	})
}

// pod creates a Pod that runs image, which must be there already.
func (f *faults) pod(t *testing.T, name, image string) {
	t.Helper()
	zero := int64(0)
	pod := corev1.Pod{Spec: corev1.PodSpec{TerminationGracePeriodSeconds: &zero, Containers: []corev1.Container{{Name: "c", Image: image, ImagePullPolicy: corev1.PullNever}}}}
	pod.APIVersion, pod.Kind, pod.Name = "v1", "Pod", name
	b, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	Eventually(t, time.Minute, "create Pod "+name, func(ctx context.Context) error {
		return f.kube(t).Post().AbsPath("/api/v1/namespaces/default/pods").Body(b).Do(ctx).Error()
	})
}

func (f *faults) wantLog(t *testing.T, pod, want string) {
	t.Helper()
	Eventually(t, time.Minute, "log of Pod "+pod, func(ctx context.Context) error {
		b, err := f.kube(t).Get().AbsPath("/api/v1/namespaces/default/pods/" + pod + "/log").DoRaw(ctx)
		if err == nil && string(b) != want {
			err = fmt.Errorf("%q, want %q", b, want)
		}
		return err
	})
}
