// Package imagetest makes images for tests, from what is on this machine.
package imagetest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// busybox is where Debian's busybox-static has it.
const busybox = "/bin/busybox"

// Busybox makes an image of this machine's busybox, which must be linked
// statically: its programs in /bin, and the files that they expect. The same
// busybox always gives the same image.
func Busybox() (v1.Image, error) {
	program, err := os.ReadFile(busybox)
	if err != nil {
		return nil, fmt.Errorf("read busybox: %w", err)
	}
	list, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("ask busybox for its programs: %w", err)
	}
	l := Layer{}
	l.Dir("bin", 0o755)
	l.File("bin/busybox", 0o755, string(program))
	for _, applet := range strings.Fields(string(list)) {
		if applet != "busybox" {
			l.Link("bin/"+applet, "busybox")
		}
	}
	l.Dir("etc", 0o755)
	l.File("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nuser:x:1000:1000::/home/user:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n")
	l.File("etc/group", 0o644, "root:x:0:\ndaemon:x:1:\nusers:x:100:user\nuser:x:1000:\nnogroup:x:65534:\n")
	for _, d := range []string{"dev", "home", "proc", "sys", "usr", "usr/bin", "var"} {
		l.Dir(d, 0o755)
	}
	l.Link("usr/bin/env", "../../bin/env")
	l.Dir("home/user", 0o700, 1000)
	l.Dir("root", 0o700)
	l.Dir("tmp", 0o1777)
	return New(v1.Config{Cmd: []string{"sh"}, Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}}, &l)
}

// New makes an image of the layers, for this machine's architecture.
func New(config v1.Config, layers ...*Layer) (v1.Image, error) {
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH, Config: config, Created: v1.Time{Time: time.Unix(0, 0).UTC()}})
	if err != nil {
		return nil, err
	}
	for _, l := range layers {
		content, err := l.bytes()
		if err != nil {
			return nil, err
		}
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
		if err != nil {
			return nil, err
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			return nil, err
		}
	}
	return img, nil
}

// Layer is a layer in the making.
type Layer struct {
	entries []entry
}

type entry struct {
	header  tar.Header
	content string
}

// Dir adds a directory, of root unless an owner is given.
func (l *Layer) Dir(name string, mode int64, owner ...int) {
	h := tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: mode}
	if len(owner) > 0 {
		h.Uid, h.Gid = owner[0], owner[0]
	}
	l.entries = append(l.entries, entry{header: h})
}

// File adds a file.
func (l *Layer) File(name string, mode int64, content string) {
	l.entries = append(l.entries, entry{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: mode, Size: int64(len(content))}, content})
}

// Link adds a symbolic link.
func (l *Layer) Link(name, target string) {
	l.entries = append(l.entries, entry{header: tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}})
}

func (l *Layer) bytes() ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range l.entries {
		e.header.ModTime = time.Unix(0, 0)
		if err := w.WriteHeader(&e.header); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), w.Close()
}

// Layout writes the image to an OCI layout of the test's own and returns the
// reference of it.
func Layout(t testing.TB, img v1.Image) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	l, err := layout.Write(dir, empty.Index)
	if err == nil {
		err = l.AppendImage(img)
	}
	if err != nil {
		t.Fatal(err)
	}
	return "oci:" + dir
}

// Archive writes the image as a docker archive with a name.
func Archive(t testing.TB, img v1.Image, ref string) string {
	t.Helper()
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := tarball.WriteToFile(file, tag, img); err != nil {
		t.Fatal(err)
	}
	return file
}

// NeedBusybox returns the image, or skips the test where it cannot be made.
func NeedBusybox(t testing.TB) v1.Image {
	t.Helper()
	if _, err := os.Stat(busybox); err != nil {
		t.Skipf("there is no busybox to make an image of: %v", err)
	}
	img, err := Busybox()
	if err != nil {
		t.Fatal(err)
	}
	return img
}
