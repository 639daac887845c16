package registry

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/host/registry/storage"
)

type anybody struct{}

func (anybody) Identify(*http.Request) (User, error) {
	return User{Name: "anybody", May: func(string, bool) bool { return true }}, nil
}

func TestDeadline(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	p := pace{idle: time.Minute, grace: 2 * time.Minute, rate: 1000}
	for _, tc := range []struct {
		after time.Duration
		n     int64
		want  time.Duration
	}{
		{0, 0, time.Minute},                                          // a pause ends it
		{time.Minute, 0, 2 * time.Minute},                            // the grace ends first
		{10 * time.Minute, 100_000, 2*time.Minute + 100*time.Second}, // too slow on average, long ago
		{10 * time.Minute, 10_000_000, 11 * time.Minute},             // fast enough
	} {
		if got := p.deadline(start, start.Add(tc.after), tc.n).Sub(start); got != tc.want {
			t.Errorf("after %s with %d bytes: %s, want %s", tc.after, tc.n, got, tc.want)
		}
	}
}

// TestASilentClientIsLetGo stops in the middle of a chunk. What came is kept,
// and the upload is free for others.
func TestASilentClientIsLetGo(t *testing.T) {
	store, err := storage.Open(t.TempDir(), storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := New(Options{Store: store, Access: anybody{}})
	s.pace = pace{idle: 500 * time.Millisecond, grace: time.Hour, rate: 1}
	srv := httptest.NewServer(s)
	defer srv.Close()
	id, err := store.StartUpload("demo/shop")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PATCH /v2/demo/shop/blobs/uploads/%s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nten bytes!", id)
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("the answer is %s", resp.Status)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if size, err := store.UploadSize(ctx, "demo/shop", id); size != 10 || err != nil {
		t.Errorf("%d bytes are kept, %v", size, err)
	}
}
