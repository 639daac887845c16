package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// files is a layer in the making.
type files struct {
	entries map[string]entry
	accounts
}

type entry struct {
	header  tar.Header
	content []byte
}

// accounts are the lines of the account files of an image.
type accounts struct {
	passwd, group string
}

// merged are the directories of the root that are links on every Debian of
// today. Packages have files in them all the same.
var merged = []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"}

func place(name string) string {
	name = path.Clean("/" + name)[1:]
	top, rest, _ := strings.Cut(name, "/")
	if rest != "" && slices.Contains(merged, top) {
		return "usr/" + name
	}
	return name
}

func (f *files) add(name string, e entry) {
	if f.entries == nil {
		f.entries = map[string]entry{}
	}
	e.header.Name = name
	f.entries[name] = e
}

func (f *files) dir(name string, mode int64, uid int) {
	f.add(name, entry{header: tar.Header{Typeflag: tar.TypeDir, Mode: mode, Uid: uid, Gid: uid}})
}

func (f *files) file(name string, mode int64, content string) {
	f.add(name, entry{tar.Header{Typeflag: tar.TypeReg, Mode: mode, Size: int64(len(content))}, []byte(content)})
}

func (f *files) link(name, target string) {
	f.add(name, entry{header: tar.Header{Typeflag: tar.TypeSymlink, Mode: 0o777, Linkname: target}})
}

// account adds a user with a group of the same number.
func (f *files) account(name string, id int, home string) {
	f.passwd += fmt.Sprintf("%s:x:%d:%d::%s:/bin/bash\n", name, id, id, home)
	f.group += fmt.Sprintf("%s:x:%d:\n", name, id)
	f.writeAccounts()
}

func (f *files) writeAccounts() {
	f.file("etc/passwd", 0o644, f.passwd)
	f.file("etc/group", 0o644, f.group)
}

// addPackage adds what is in a package.
func (f *files) addPackage(ctx context.Context, deb string) error {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	var errw bytes.Buffer
	cmd.Stderr = &errw
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	readErr := f.addArchive(out)
	_, _ = io.Copy(io.Discard, out) // so that it can end
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("read %s: %w: %s", deb, err, errw.String())
	}
	if readErr != nil {
		return fmt.Errorf("read %s: %w", deb, readErr)
	}
	return nil
}

func (f *files) addArchive(r io.Reader) error {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := place(h.Name)
		if name == "" || h.Typeflag == tar.TypeDir && slices.Contains(merged, name) || unneeded(name) {
			continue
		}
		e := entry{header: tar.Header{Typeflag: h.Typeflag, Mode: h.Mode & 0o7777, Uid: h.Uid, Gid: h.Gid, Linkname: h.Linkname, Size: h.Size}}
		switch h.Typeflag {
		case tar.TypeReg:
			if e.content, err = io.ReadAll(tr); err != nil {
				return err
			}
		case tar.TypeLink:
			e.header.Linkname = place(h.Linkname)
		case tar.TypeDir, tar.TypeSymlink:
		default:
			return fmt.Errorf("%s is of type %q", name, h.Typeflag)
		}
		f.add(name, e)
	}
}

// unneeded are files that only people read.
func unneeded(name string) bool {
	for _, p := range []string{"usr/share/doc/", "usr/share/man/", "usr/share/info/", "usr/share/lintian/", "usr/share/locale/"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// layer writes the archive: sorted, with one time, hard links after what they
// link to.
func (f *files) layer() (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	names := slices.Sorted(maps.Keys(f.entries))
	for _, links := range []bool{false, true} {
		for _, n := range names {
			e := f.entries[n]
			if (e.header.Typeflag == tar.TypeLink) != links {
				continue
			}
			h := e.header
			h.ModTime = time.Unix(0, 0)
			if h.Typeflag == tar.TypeDir {
				h.Name += "/"
			}
			if err := w.WriteHeader(&h); err != nil {
				return nil, err
			}
			if _, err := w.Write(e.content); err != nil {
				return nil, err
			}
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }, tarball.WithCompressionLevel(1))
}

// debianFiles does what the base packages' scripts do.
func debianFiles(f *files) error {
	for _, n := range merged {
		if n == "lib32" || n == "libx32" {
			continue
		}
		f.link(n, "usr/"+n)
	}
	read := func(name string) (string, error) {
		e, ok := f.entries[name]
		if !ok {
			return "", fmt.Errorf("no package has %s", name)
		}
		return string(e.content), nil
	}
	var err error
	if f.passwd, err = read("usr/share/base-passwd/passwd.master"); err != nil {
		return err
	}
	f.passwd = strings.ReplaceAll(f.passwd, ":*:", ":x:")
	if f.group, err = read("usr/share/base-passwd/group.master"); err != nil {
		return err
	}
	f.group = strings.ReplaceAll(f.group, ":*:", ":x:")
	f.writeAccounts()
	f.link("usr/bin/awk", "mawk")
	f.link("usr/bin/which", "which.debianutils")
	f.dir("tmp", 0o1777, 0)
	f.dir("var/tmp", 0o1777, 0)
	f.dir("root", 0o700, 0)
	f.file("etc/nsswitch.conf", 0o644, "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n")
	// What update-ca-certificates makes.
	var all strings.Builder
	for _, n := range slices.Sorted(maps.Keys(f.entries)) {
		if strings.HasPrefix(n, "usr/share/ca-certificates/") && strings.HasSuffix(n, ".crt") {
			all.Write(f.entries[n].content)
		}
	}
	if all.Len() == 0 {
		return errors.New("no certificates are in ca-certificates")
	}
	f.file("etc/ssl/certs/ca-certificates.crt", 0o644, all.String())
	return nil
}
