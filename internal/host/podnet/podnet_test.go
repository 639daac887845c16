package podnet

import (
	"net"
	"runtime"
	"testing"
)

func TestBeside(t *testing.T) {
	for _, tc := range []struct {
		listen, pods string
		covered      bool
	}{
		{"127.0.0.1:7080", "10.214.0.1:7080", false}, {"localhost:80", "10.214.0.1:80", false}, {"192.0.2.1:7080", "10.214.0.1:7080", false},
		{"0.0.0.0:7080", "10.214.0.1:7080", true}, {":7080", "10.214.0.1:7080", true}, {"[::]:7080", "10.214.0.1:7080", true}, {"10.214.0.1:1", "10.214.0.1:1", true},
		{"nonsense", "", false},
	} {
		pods := Beside(tc.listen)
		if pods != tc.pods || Covers(tc.listen, pods) != tc.covered {
			t.Errorf("%s: %q, %t", tc.listen, pods, Covers(tc.listen, pods))
		}
	}
}

// The bridge is not there yet, and a successor listens beside its predecessor.
func TestListen(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the embedded cluster is Linux only")
	}
	l, err := Listen(t.Context(), "198.51.100.1:0") // of no machine
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	again, err := Listen(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	if _, err := Listen(t.Context(), "nonsense"); err == nil {
		t.Error("nonsense is listened on")
	}
	here, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	c, err := net.Dial("tcp", here.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
