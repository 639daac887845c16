//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// installWorkflow makes a package and installs it with apt-get, as root of its
// sandbox, and another one from the distribution when the machine reaches it.
const installWorkflow = `name: install
on: push
jobs:
  install:
    runs-on: ubuntu-latest
    steps:
      - name: Make a package
        run: |
          mkdir -p pkg/DEBIAN pkg/usr/bin
          printf '#!/bin/sh\necho installed $(id -un)\n' > pkg/usr/bin/penstock-e2e-tool
          chmod 755 pkg/usr/bin/penstock-e2e-tool
          cat > pkg/DEBIAN/control <<'END'
          Package: penstock-e2e
          Version: 1
          Architecture: all
          Maintainer: nobody <nobody@example.com>
          Description: a package for a test
          END
          dpkg-deb --build pkg penstock-e2e.deb
      - name: Install it
        run: sudo apt-get install -y ./penstock-e2e.deb
      - name: Install from the distribution
        if: ${{ env.ONLINE == 'true' }}
        run: |
          sudo apt-get update
          sudo apt-get install -y --no-install-recommends hello
          hello
      - name: Use it
        run: |
          penstock-e2e-tool
          touch /usr/share/penstock-e2e-was-here /etc/penstock-e2e-was-here
          test -e /etc/penstock-e2e-was-here
`

func TestE2EInstallInSandbox(t *testing.T) {
	p := NewPlatform(t)
	p.Up(t)
	before := packages(t)
	online := exec.CommandContext(t.Context(), "getent", "hosts", "deb.debian.org").Run() == nil
	src := t.TempDir()
	write(t, src, ".github/workflows/install.yml", strings.Replace(installWorkflow, "jobs:", fmt.Sprintf("env:\n  ONLINE: %v\njobs:", online), 1))
	p.push(t, "e2e/install", src)

	r := p.finishedRun(t, "e2e/install", 5*time.Minute)
	log := p.Run(t, "ci", "logs", fmt.Sprint(r.ID))
	if r.Conclusion != "success" {
		t.Fatalf("run ended as %s: %s\n%s", r.Conclusion, r.Message, log)
	}
	if !strings.Contains(log, "installed root") {
		t.Errorf("the installed program did not run:\n%s", log)
	}
	if online && !strings.Contains(log, "Hello, world!") {
		t.Errorf("the distribution's program did not run:\n%s", log)
	}
	for _, path := range []string{"/usr/bin/penstock-e2e-tool", "/usr/share/penstock-e2e-was-here", "/etc/penstock-e2e-was-here"} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s exists on the host", path)
		}
	}
	if after := packages(t); after != before {
		t.Error("the host's packages changed")
	}
}

// packages is the host's list of installed packages.
func packages(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "dpkg-query", "-W").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// stagesDockerfile has two stages and a cache mount; its base image comes from
// the host's static busybox.
const stagesDockerfile = `FROM scratch AS base
COPY busybox /bin/busybox
COPY busybox /bin/sh
FROM base AS compile
ARG WORD=none
RUN --mount=type=cache,target=/cache /bin/busybox sh -ec 'echo x >> /cache/runs; /bin/busybox wc -l < /cache/runs > /runs; echo "$WORD" > /word'
FROM scratch
COPY --from=base /bin/busybox /bin/busybox
COPY --from=compile /runs /word /www/
ENTRYPOINT ["/bin/busybox", "cat", "/www/runs", "/www/word"]
`

func TestE2EBuildStages(t *testing.T) {
	p := NewPlatform(t)
	p.Up(t)
	src := t.TempDir()
	write(t, src, "Dockerfile", stagesDockerfile)
	b, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(src, "busybox"), b, 0o755); err != nil {
		t.Fatal(err)
	}
	const image = "penstock.localhost:7080/e2e/stages"
	for i, word := range []string{"one", "two", "two"} {
		out := p.Run(t, "build", "--progress", "plain", "--build-arg", "WORD="+word, "-t", fmt.Sprintf("%s:%d", image, i), src)
		t.Log(out)
	}
	k := p.clientset(t)
	// The cache mount was kept between the first two builds, and the third
	// took its step from the cache.
	for i, want := range []string{"1\none", "2\ntwo", "2\ntwo"} {
		name := fmt.Sprintf("stages-%d", i)
		if got := strings.TrimSpace(runPod(t, k, name, fmt.Sprintf("%s:%d", image, i))); got != want {
			t.Errorf("image %d says %q, want %q", i, got, want)
		}
	}
}

// write creates a file below dir.
func write(t testing.TB, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// push creates repo and pushes everything in dir to its main branch.
func (p *Platform) push(t testing.TB, repo, dir string) {
	t.Helper()
	p.Run(t, "repo", "create", repo)
	p.Git(t, dir, "init", "-q")
	p.Git(t, dir, "add", "-A")
	p.Git(t, dir, "commit", "-q", "-m", "first")
	p.Git(t, dir, "push", "-q", "http://penstock.localhost:7080/git/"+repo+".git", "HEAD:main")
}

type endedRun struct {
	ID                          int64
	Status, Conclusion, Message string
}

// finishedRun waits for the newest run of repo to end.
func (p *Platform) finishedRun(t testing.TB, repo string, timeout time.Duration) endedRun {
	t.Helper()
	var list []endedRun
	Eventually(t, timeout, "the run ends", func(context.Context) error {
		list = nil
		p.JSON(t, &list, "ci", "list", "--repo", repo)
		if len(list) == 0 {
			return fs.ErrNotExist
		}
		if list[0].Status != "completed" {
			return fmt.Errorf("run %d is %s", list[0].ID, list[0].Status)
		}
		return nil
	})
	return list[0]
}
