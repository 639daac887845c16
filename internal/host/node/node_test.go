package node

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// serve answers on a socket the way the node does.
func serve(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close(); <-done })
	return New(socket)
}

func TestAnswers(t *testing.T) {
	for _, tc := range []struct {
		name     string
		code     int
		body     string
		is       error
		text     string
		hint     string
		exitCode int
	}{
		{"not found", 404, `{"error":"image a:1: not found"}`, problem.ErrNotFound, "remove the image: not found: image a:1: not found", "", problem.ExitNotFound},
		{"invalid", 400, `{"error":"invalid image name","hint":"name it"}`, problem.ErrInvalid, "remove the image: invalid: invalid image name", "name it", problem.ExitUsage},
		{"waiting", 503, `{"ready":false,"waitingFor":["etcd","pods"]}`, problem.ErrTimeout, "remove the image: timed out: not ready are [etcd pods]", "", problem.ExitTimeout},
		{"not ours", 502, `<html>`, nil, "remove the image: the node answers 502 Bad Gateway", "", problem.ExitFailed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodDelete || r.URL.Query().Get("name") != "a:1" {
					t.Errorf("got %s %s", r.Method, r.URL)
				}
				w.WriteHeader(tc.code)
				fmt.Fprint(w, tc.body)
			})
			err := c.RemoveImage(t.Context(), "a:1")
			if err == nil || err.Error() != tc.text {
				t.Errorf("error %q, want %q", err, tc.text)
			}
			if tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("%v is not %v", err, tc.is)
			}
			var p *problem.Error
			if !errors.As(err, &p) || p.Hint != tc.hint {
				t.Errorf("hint of %#v, want %q", err, tc.hint)
			}
			if got := problem.ExitCode(err); got != tc.exitCode {
				t.Errorf("exit code %d, want %d", got, tc.exitCode)
			}
		})
	}
}

func TestNobodyListens(t *testing.T) {
	_, err := New(filepath.Join(t.TempDir(), "none")).Status(t.Context())
	var p *problem.Error
	if !errors.As(err, &p) || p.Hint == "" {
		t.Fatalf("got %v, want an error with a hint", err)
	}
}

func TestImportSendsTheLayout(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{"oci-layout": "{}", "index.json": "[]", "blobs/sha256/aa": "layer"}
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got := map[string]string{}
		tr := tar.NewReader(r.Body)
		for {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Error(err)
				break
			}
			b, _ := io.ReadAll(tr)
			got[h.Name] = string(b)
		}
		if len(got) != len(files) {
			t.Errorf("got %v", got)
		}
		for n, want := range files {
			if got[n] != want {
				t.Errorf("%s is %q, want %q", n, got[n], want)
			}
		}
		fmt.Fprintf(w, `[{"name":%q,"digest":"sha256:x","size":5}]`, r.URL.Query().Get("name"))
	})
	r, err := OpenArchive(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	list, err := c.ImportImage(t.Context(), r, "a/b:1")
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].Name != "a/b:1" || list[0].Size != 5 {
		t.Errorf("got %v", list)
	}
}

func TestOpenArchiveRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenArchive(dir, nil); err == nil {
		t.Error("a directory without a layout was accepted")
	}
	if err := os.WriteFile(filepath.Join(dir, "oci-layout"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "index.json")); err != nil {
		t.Fatal(err)
	}
	r, err := OpenArchive(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); err == nil {
		t.Error("a link out of the layout was followed")
	}
}

func TestReadyIsCancelled(t *testing.T) {
	c := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Ready(ctx, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
