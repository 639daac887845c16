//go:build linux

package sandbox

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestProxies(t *testing.T) {
	own := func(a netip.Addr) bool { return a == netip.MustParseAddr("192.0.2.7") }
	env, forwards := proxies([]string{
		"HOME=/root", "http_proxy=http://127.0.0.1:3128", "HTTPS_PROXY=http://user:pw@192.0.2.7:8080/", "all_proxy=socks5h://localhost:1080",
		"ftp_proxy=127.0.0.1:2121", "no_proxy=localhost,.lan", "HTTP_PROXY=http://proxy.corp.example:8080", "ALL_PROXY=", "AWS_SECRET=x",
	}, own)
	wantEnv := []string{
		"http_proxy=http://127.0.0.1:3128", "HTTPS_PROXY=http://user:pw@127.0.0.1:8080/", "all_proxy=socks5h://127.0.0.1:1080",
		"ftp_proxy=127.0.0.1:2121", "no_proxy=localhost,.lan", "HTTP_PROXY=http://proxy.corp.example:8080",
	}
	if d := cmp.Diff(wantEnv, env); d != "" {
		t.Error(d)
	}
	wantForwards := map[string]string{
		"127.0.0.1:3128": "127.0.0.1:3128", "127.0.0.1:8080": "192.0.2.7:8080", "127.0.0.1:1080": "localhost:1080", "127.0.0.1:2121": "127.0.0.1:2121",
	}
	if d := cmp.Diff(wantForwards, forwards); d != "" {
		t.Error(d)
	}
}

func TestAptForwards(t *testing.T) {
	f := filepath.Join(t.TempDir(), "proxy")
	conf := "# Acquire::http::Proxy \"http://127.0.0.1:1\";\nAcquire::http::Proxy \"http://127.0.0.1:3142\";\nacquire::https::proxy \"http://mirror.lan:80\";\nAcquire::http::Proxy \"DIRECT\";\n"
	if err := os.WriteFile(f, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{"127.0.0.1:3142": "127.0.0.1:3142"}, aptForwards([]string{f, f + ".gone"})); d != "" {
		t.Error(d)
	}
}
