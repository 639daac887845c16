//go:build integration

// Package test starts the real shop and buys something in it.
package test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// start builds and starts the shop and returns its base URL. The shop must end
// cleanly at the end of the test.
func start(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "shop")
	build := exec.Command("go", "build", "-ldflags", "-X main.version=integration", "-o", bin, "../cmd/shop")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	if _, err := os.Stat("../dist/page/app.js"); err != nil {
		t.Fatalf("%v: build the page first: sh scripts/page.sh", err)
	}
	cmd := exec.Command(bin, "-listen", "127.0.0.1:0", "-page", "../dist/page")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	address := make(chan string, 1)
	rest := make(chan struct{})
	go func() {
		defer close(rest)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			var entry struct{ Msg, Address string }
			if json.Unmarshal(lines.Bytes(), &entry) == nil && entry.Msg == "shop is open" {
				address <- entry.Address
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-rest
		if err := cmd.Wait(); err != nil {
			t.Errorf("the shop did not close cleanly: %v", err)
		}
	})
	select {
	case a := <-address:
		return "http://" + a
	case <-rest:
		t.Fatal("the shop ended before it was open")
	case <-time.After(20 * time.Second):
		t.Fatal("the shop did not open")
	}
	return ""
}

func TestVisit(t *testing.T) {
	base := start(t)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	visitor := &http.Client{Jar: jar, Timeout: 5 * time.Second}
	for _, step := range []struct{ method, path, body, want string }{
		{"GET", "/version", "", `"integration"`},
		{"GET", "/", "", `<script type="module" src="app.js">`},
		{"GET", "/app.js", "", "/api/products"},
		{"GET", "/style.css", "", "body"},
		{"GET", "/api/products", "", `"turbine"`},
		{"POST", "/api/cart", `{"product":"turbine","quantity":1}`, `"total":129900`},
		{"POST", "/api/cart", `{"product":"seal","quantity":3}`, `"total":130260`},
		{"GET", "/api/cart", "", `"quantity":3`},
		{"DELETE", "/api/cart", "", ""},
		{"GET", "/api/cart", "", `"total":0`},
	} {
		req, err := http.NewRequest(step.method, base+step.path, strings.NewReader(step.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := visitor.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode >= 300 || !strings.Contains(string(body), step.want) {
			t.Errorf("%s %s = %d %.200q %v, want %q", step.method, step.path, resp.StatusCode, body, err, step.want)
		}
	}
}
