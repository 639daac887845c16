//go:build linux

package wire

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func pair(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	conns := make([]*net.UnixConn, 2)
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = c.(*net.UnixConn)
		t.Cleanup(func() { c.Close() })
	}
	return conns[0], conns[1]
}

func TestRoundTrip(t *testing.T) {
	a, b := pair(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	want := Message{Op: Failed, ID: 7, Code: 3, Error: strings.Repeat("e", 1000), NotFound: true}
	if err := Send(a, want, int(w.Fd())); err != nil {
		t.Fatal(err)
	}
	w.Close()
	got, files, err := Receive(b)
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := files[0].WriteString("through"); err != nil {
		t.Error(err)
	}
	files[0].Close()
	if data, err := io.ReadAll(r); err != nil || string(data) != "through" {
		t.Errorf("%q, %v", data, err)
	}
	a.Close()
	if _, _, err := Receive(b); !errors.Is(err, io.EOF) {
		t.Errorf("after the other side's end: %v, want %v", err, io.EOF)
	}
}

func TestTooLong(t *testing.T) {
	a, b := pair(t)
	if err := Send(a, Message{Error: strings.Repeat("x", MaxMessage)}); err == nil {
		t.Error("a long message is sent")
	}
	if _, err := a.Write([]byte(`{"op":"` + strings.Repeat("x", MaxMessage) + `"}`)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Receive(b); err == nil {
		t.Error("a long message is believed")
	}
	if _, err := a.Write([]byte("not json")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Receive(b); err == nil {
		t.Error("nonsense is believed")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"op":"exited","id":1,"code":137}`))
	f.Add([]byte(`{"id":-1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parse(data)
		if err == nil && len(m.Error) > len(data) {
			t.Errorf("%q became longer", data)
		}
	})
}
