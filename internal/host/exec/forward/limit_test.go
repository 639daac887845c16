package forward_test

import (
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock-dev/penstock/internal/host/exec/forward"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// echo answers with what it is sent and counts its connections.
func echo(t *testing.T, arrived chan<- struct{}) string {
	l := listen(t)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			arrived <- struct{}{}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

func dial(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// TestASessionCannotOpenConnectionsWithoutEnd also shows that a place that
// becomes free is used again.
func TestASessionCannotOpenConnectionsWithoutEnd(t *testing.T) {
	arrived := make(chan struct{}, 1000)
	outside := echo(t, arrived)
	f := forward.New(slog.New(slog.DiscardHandler))
	defer f.Close()
	l := listen(t)
	f.TCP(l, outside)
	const limit = 256
	var conns []*net.TCPConn
	for range limit + 10 {
		conns = append(conns, dial(t, l.Addr().String()))
	}
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for range limit {
		select {
		case <-arrived:
		case <-time.After(10 * time.Second):
			t.Fatal("connections within the limit do not arrive")
		}
	}
	select {
	case <-arrived:
		t.Fatal("a connection beyond the limit was carried")
	case <-time.After(100 * time.Millisecond):
	}
	first := conns[0]
	if _, err := first.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	if err := first.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(first); string(b) != "ping" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	select {
	case <-arrived:
	case <-time.After(10 * time.Second):
		t.Error("the place of a closed connection is not used again")
	}
}
