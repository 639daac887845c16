//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// disk mounts a small file system for data directories.
func disk(t *testing.T, megabytes int) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pe")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", megabytes)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("the node's disk is still in use: %v", err)
		}
		os.RemoveAll(dir)
	})
	return dir
}

// TestNoRoomToStart: the first start on a disk that is too small says so.
func TestNoRoomToStart(t *testing.T) {
	dir := disk(t, 16)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, os.Getenv(inside), "run", "--api-only", "--apiserver-port", "0", "--data-dir", filepath.Join(dir, "n")).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("ended with %v", err)
	}
	if !strings.Contains(string(out), "no space left on device") || !strings.Contains(string(out), "hint: free space") {
		t.Errorf("says %s", last(out, 2<<10))
	}
}

// TestDiskFull fills the disk under a running node. What was written stays, an
// import is refused with a hint, and with space all goes on.
func TestDiskFull(t *testing.T) {
	if testing.Short() {
		t.Skip("the long faults belong to make e2e")
	}
	root := disk(t, 900)
	n := newNodeIn(t, root, "--no-builder")
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "before"}}
	if _, err := n.client.CoreV1().ConfigMaps(ns).Create(t.Context(), cm, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(root, "filler")
	fill(t, filler)
	resp, err := n.control().Post("http://node/v1/images?name=big:1", "application/x-tar", bytes.NewReader(archive(t, 64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusInternalServerError || !strings.Contains(string(b), "no space left") || !strings.Contains(string(b), "free space") {
		t.Errorf("import on a full disk: %s %s", resp.Status, b)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	// etcd may have given up rather than lose a write; then the process has
	// ended, as it would under its supervisor, and is started again.
	select {
	case err := <-n.ended:
		t.Logf("the node ended on the full disk: %v", err)
		n.start()
	case <-time.After(2 * time.Second):
	}
	n.ready(time.Minute)
	eventually(t, time.Minute, "writes go on", func() error {
		if _, err := n.client.CoreV1().ConfigMaps(ns).Get(t.Context(), "before", metav1.GetOptions{}); err != nil {
			return err
		}
		_, err := n.client.CoreV1().ConfigMaps(ns).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "after-"}}, metav1.CreateOptions{})
		return err
	})
	resp, err = n.control().Post("http://node/v1/images?name=big:1", "application/x-tar", bytes.NewReader(archive(t, 8<<20)))
	if err != nil {
		t.Fatal(err)
	}
	b, _ = io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("import with space again: %s %s", resp.Status, b)
	}
}

// fill writes until nothing fits.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	for {
		if _, err := f.Write(block); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			return
		}
	}
}

// archive is a docker-archive of an image with one layer of about size bytes.
func archive(t *testing.T, size int) []byte {
	t.Helper()
	var layer bytes.Buffer
	tw := tar.NewWriter(&layer)
	add := func(tw *tar.Writer, name string, b []byte) {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(b)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	add(tw, "data", bytes.Repeat([]byte{byte(size >> 20)}, size))
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	ow := tar.NewWriter(&out)
	add(ow, "layer.tar", layer.Bytes())
	add(ow, "config.json", fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}`, sum(layer.Bytes())))
	add(ow, "manifest.json", []byte(`[{"Config":"config.json","RepoTags":["big:1"],"Layers":["layer.tar"]}]`))
	if err := ow.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
