//go:build e2e && linux

package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/host/exec"
	"github.com/penstock-dev/penstock/internal/host/exec/container"
	"github.com/penstock-dev/penstock/internal/host/exec/exectest"
	"github.com/penstock-dev/penstock/internal/host/exec/sandbox"
	"github.com/penstock-dev/penstock/internal/host/image"
	"github.com/penstock-dev/penstock/internal/host/image/unpack"
)

// TestImages makes every image and uses what it is for.
func TestImages(t *testing.T) {
	if testing.Short() {
		t.Skip("fetches 150 MB of packages")
	}
	if os.Geteuid() != 0 {
		t.Skip("containers need root")
	}
	// Kept for the next time: packages do not change under their names.
	out := os.Getenv("PENSTOCK_IMAGES")
	if out == "" {
		out = "/var/cache/penstock-images"
	}
	if err := run(t.Context(), io.Discard, out, false, nil); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/var/tmp", "penstock-images-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	boxes, err := sandbox.New(sandbox.Options{Dir: filepath.Join(dir, "sandboxes")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := boxes.Sweep(context.Background())
		if err != nil {
			t.Error(err)
		}
		boxes.Close()
	})
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	store, err := image.NewStore(filepath.Join(dir, "images"), &image.Sources{Log: log}, unpack.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	rt, err := container.New(boxes, store, "")
	if err != nil {
		t.Fatal(err)
	}
	with := func(name string) func(*exec.SessionSpec) {
		return func(s *exec.SessionSpec) { s.Image = "oci:" + out + "/layout:" + name }
	}
	for name, script := range map[string]string{
		"busybox": "busybox | head -n 1; echo aha | tr h H | grep aHa",
		"debian":  "bash -c 'echo $BASH_VERSION'; curl --version | head -n 1; echo '{\"a\": [1, 2]}' | jq .a[1]; awk 'BEGIN { print 6 * 7 }'; getent passwd root",
		"git":     "git init -q -b main r; cd r; git -c user.name=a -c user.email=a@b commit -q --allow-empty -m first; git log --oneline | grep first",
		"node":    `node -e 'require("https"); console.log(process.version, [1, 2].map(x => x * 2))'; git --version`,
		"python":  `python -c 'import ssl, sqlite3, json, zlib; print(ssl.OPENSSL_VERSION)'; python3 -m venv v; v/bin/pip --version`,
	} {
		t.Run(name, func(t *testing.T) {
			s := exectest.Open(t, rt, with(name))
			t.Log(exectest.Must(t, s, "set -e; "+script))
		})
	}
	t.Run("postgres", func(t *testing.T) {
		network := exectest.ID()
		db := exectest.Open(t, rt, with("postgres"), func(s *exec.SessionSpec) { s.Network, s.Names = network, []string{"db"} })
		var text bytes.Buffer
		cmd := db.(exec.Imaged).Image().Command()
		cmd.Env, cmd.Stdout, cmd.Stderr = append(db.Env(), "POSTGRES_PASSWORD=secret", "POSTGRES_DB=app"), &text, &text
		service := exec.Start(t.Context(), db, cmd)
		for end := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
			if _, code := exectest.Sh(t, db, "pg_isready -q -h 127.0.0.1"); code == 0 {
				break
			}
			select {
			case <-service.Done():
				t.Fatalf("it has ended: %s", text.String())
			default:
			}
			if time.Now().After(end) {
				t.Fatal("it does not become ready")
			}
		}
		// A job of another image, by the service's name.
		job := exectest.Open(t, rt, with("postgres"), func(s *exec.SessionSpec) { s.Network = network })
		out := exectest.Must(t, job, "PGPASSWORD=secret psql -h db -U postgres -d app -At -c 'create table t (n int); insert into t values (6), (7); select 6 * n from t where n = 7'")
		if !strings.HasSuffix(strings.TrimSpace(out), "42") {
			t.Errorf("got %q", out)
		}
	})
}
