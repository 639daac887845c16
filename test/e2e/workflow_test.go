//go:build e2e

package e2e

import (
	"context"
	"fmt"
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
	online := exec.CommandContext(t.Context(), "sh", "-c", `getent hosts "$(apt-get indextargets --format '$(SITE)' | head -n 1 | cut -d/ -f3)"`).Run() == nil
	src := t.TempDir()
	write(t, src, ".github/workflows/install.yml", strings.Replace(installWorkflow, "jobs:", fmt.Sprintf("env:\n  ONLINE: %v\njobs:", online), 1))
	f := &faults{Platform: p}
	p.Run(t, "repo", "create", "e2e/install")
	f.begin(t, src, "e2e/install")
	f.Git(t, src, "push", "-q", "origin", "main")

	var r ciRun
	Eventually(t, 5*time.Minute, "the run ends", func(context.Context) error {
		all := f.runs(t, "e2e/install")
		if len(all) == 0 || all[0].Status != "completed" {
			return fmt.Errorf("runs: %+v", all)
		}
		r = all[0]
		return nil
	})
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
