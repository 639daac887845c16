//go:build linux

package sandbox_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	osexec "os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/penstock-dev/penstock/internal/host/exec"
	. "github.com/penstock-dev/penstock/internal/host/exec/exectest"
)

// get fetches a page with nothing but a shell: the address, or a failure.
func get(t *testing.T, s exec.Session, hostport string) (string, bool) {
	t.Helper()
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		t.Fatal(err)
	}
	out, code := Sh(t, s, fmt.Sprintf(`timeout 5 bash -c 'exec 3<>/dev/tcp/%s/%s && printf "GET / HTTP/1.0\r\n\r\n" >&3 && cat <&3' 2>/dev/null`, host, port))
	_, body, _ := strings.Cut(out, "\r\n\r\n")
	return body, code == 0
}

func TestNetwork(t *testing.T) {
	r := newRuntime(t, denying)
	other := OtherMachine(t)
	udp, hostSide, allowedAddr, deniedAddr, metadata := other.UDP, other.Host, other.Allowed, other.Denied, other.Metadata

	// A service of the host, on all its addresses.
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "the host") })}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	_, port, _ := net.SplitHostPort(l.Addr().String())

	spec := func(spec *exec.SessionSpec) {
		spec.Forward = map[string]string{"127.0.0.1:7080": "127.0.0.1:" + port}
		spec.Hosts = map[string]string{"penstock.localhost": "127.0.0.1", "elsewhere.example": allowedAddr}
	}
	a, b := Open(t, r, spec), Open(t, r, spec)

	t.Run("egress", func(t *testing.T) {
		got, ok := get(t, a, allowedAddr+":8000")
		if !ok || got != hostSide {
			t.Errorf("the other machine was asked by %q, want %s", got, hostSide)
		}
		if got, _ := get(t, a, "elsewhere.example:8000"); got != hostSide {
			t.Errorf("by its name in the hosts file: %q", got)
		}
	})
	t.Run("forward", func(t *testing.T) {
		for _, addr := range []string{"127.0.0.1:7080", "penstock.localhost:7080"} {
			if got, ok := get(t, a, addr); !ok || got != "the host" {
				t.Errorf("%s: %q", addr, got)
			}
		}
	})
	t.Run("refused", func(t *testing.T) {
		own := []string{hostSide, "10.216.0.1", "127.0.0.1"}
		addrs, err := net.InterfaceAddrs()
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
				own = append(own, n.IP.String())
			}
		}
		for _, addr := range own {
			start := time.Now()
			if got, ok := get(t, a, net.JoinHostPort(addr, port)); ok {
				t.Errorf("the host answers on %s: %q", addr, got)
			}
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("%s: refused after %v only", addr, took)
			}
		}
		for _, addr := range []string{deniedAddr, metadata} {
			if body, err := fetch(addr + ":8000"); err != nil || body == "" {
				t.Fatalf("from the host, %s does not answer: %v", addr, err)
			}
			if got, ok := get(t, a, addr+":8000"); ok {
				t.Errorf("%s answers: %q", addr, got)
			}
		}
	})
	t.Run("other sandbox", func(t *testing.T) {
		addr := strings.Fields(Must(t, b, "hostname -I || ip -o -4 address show eth0 | grep -o '10[0-9.]*' | head -1"))[0]
		Must(t, b, "python3 -m http.server 8000 >/dev/null 2>&1 & sleep 1")
		if _, ok := get(t, b, addr+":8000"); !ok {
			t.Fatal("it does not reach its own server")
		}
		if got, ok := get(t, a, addr+":8000"); ok {
			t.Errorf("another sandbox answers: %q", got)
		}
	})
	t.Run("no way to take another's address", func(t *testing.T) {
		if out, code := Sh(t, a, "ip address add 10.216.0.99/32 dev eth0 2>&1 || ip route replace default dev lo 2>&1"); code == 0 {
			t.Errorf("the address can be changed: %s", out)
		}
	})
	t.Run("another's source address", func(t *testing.T) {
		send := func(source string) string {
			return Must(t, a, `python3 - <<'END'
import socket, struct
src, dst = "`+source+`" or socket.gethostbyname_ex(socket.gethostname())[2][0], "`+allowedAddr+`"
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
data = b"`+source+`."
udp = struct.pack("!HHHH", 9999, 8000, 8 + len(data), 0) + data
ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, socket.inet_aton(src), socket.inet_aton(dst))
for _ in range(3): s.sendto(ip + udp, (dst, 0))
END`)
		}
		own := strings.TrimSpace(Must(t, a, "ip -o -4 address show eth0 | grep -o 'inet 10[0-9.]*' | cut -c6-"))
		send(own)
		send("10.216.0.249")
		send(hostSide)
		var got []string
		buf := make([]byte, 100)
		for len(got) < 3 {
			if err := udp.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
			n, _, err := udp.ReadFrom(buf)
			if err != nil {
				break
			}
			got = append(got, string(buf[:n]))
		}
		for _, g := range got {
			if g != own+"." {
				t.Errorf("a packet got out with the source %s", g)
			}
		}
		if len(got) == 0 {
			t.Error("not even packets with the own source got out: the test shows nothing")
		}
	})
	t.Run("IPv6", func(t *testing.T) {
		if out := Must(t, a, "cat /proc/net/if_inet6 | grep -v ' lo$' | grep -c . || true"); strings.TrimSpace(out) != "0" {
			// A link-local address inside is harmless as long as the host's
			// side has none.
			links, err := netlink.LinkList()
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range links {
				if !strings.HasPrefix(l.Attrs().Name, "pnci") {
					continue
				}
				if addrs, err := netlink.AddrList(l, netlink.FAMILY_V6); err != nil || len(addrs) > 0 {
					t.Errorf("%s has IPv6 addresses: %v, %v", l.Attrs().Name, addrs, err)
				}
			}
		}
	})
}

func fetch(addr string) (string, error) {
	c := http.Client{Timeout: 5 * time.Second}
	resp, err := c.Get("http://" + addr + "/")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	return string(data), err
}

func TestNames(t *testing.T) {
	r := newRuntime(t)
	s := Open(t, r)
	if out := Must(t, s, "getent hosts localhost; hostname; getent hosts $(hostname)"); !strings.Contains(out, "127.0.0.1") && !strings.Contains(out, "::1") {
		t.Errorf("names of the sandbox itself: %q", out)
	}
	// What the host resolves, the sandbox resolves, and in the same way.
	name := mirror(t)
	want, err := net.LookupHost(name)
	if err != nil {
		t.Skipf("this machine resolves no names: %v", err)
	}
	got := Must(t, s, "getent ahosts "+name)
	for _, a := range want {
		if strings.Contains(got, a) {
			return
		}
	}
	t.Errorf("%s is %q inside, %v outside", name, got, want)
}

// mirror is the host that this machine's packages come from.
func mirror(t *testing.T) string {
	t.Helper()
	out, err := osexec.CommandContext(t.Context(), "apt-get", "indextargets", "--format", "$(SITE)").Output()
	if err != nil {
		t.Skipf("this machine has no apt: %v", err)
	}
	site, _, _ := strings.Cut(string(out), "\n")
	u, err := url.Parse(site)
	if err != nil || u.Hostname() == "" {
		t.Skipf("this machine's packages come from %q", site)
	}
	return u.Hostname()
}
