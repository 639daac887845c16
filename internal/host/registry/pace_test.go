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

	"github.com/penstock-dev/penstock/internal/base/pace"
	"github.com/penstock-dev/penstock/internal/host/registry/storage"
)

type anybody struct{}

func (anybody) Identify(*http.Request) (User, error) {
	return User{Name: "anybody", May: func(string, bool) bool { return true }}, nil
}

// TestASilentClientIsLetGo stops in the middle of a chunk. What came is kept,
// and the upload is free for others.
func TestASilentClientIsLetGo(t *testing.T) {
	store, err := storage.Open(t.TempDir(), storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := New(Options{Store: store, Access: anybody{}})
	s.pace = pace.Pace{Idle: 500 * time.Millisecond, Grace: time.Hour, Rate: 1}
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
