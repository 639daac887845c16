//go:build linux

package build_test

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/supply/build"
	"github.com/penstock-dev/penstock/internal/supply/build/buildtest"
)

// TestStepsReachTheOutsideOnly has steps call addresses of this machine, of a
// denied network and of the outside, which is a network namespace here.
func TestStepsReachTheOutsideOnly(t *testing.T) {
	srv := buildtest.Start(t, "-deny", "203.0.113.0/24")
	outside(t, "198.51.100", "203.0.113")

	// One server on this machine, on every address it has.
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "host") })}
	go func() { _ = web.Serve(l) }()
	t.Cleanup(func() { _ = web.Close() })
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}

	calls := map[string]string{
		"outside": "198.51.100.2:80", "denied": "203.0.113.2:80", "loopback": "127.0.0.1:" + port,
		"gateway": net.JoinHostPort(srv.Subnet.Addr().Next().String(), port),
		"uplink":  net.JoinHostPort("198.51.100.1", port), // an address of this machine on another network
		"v6":      net.JoinHostPort("::1", port),
	}
	want := map[string]bool{"outside": true}
	var list strings.Builder
	for name, addr := range calls {
		fmt.Fprintf(&list, "%s %s\n", name, addr)
	}
	dir := files(t, map[string]string{"calls": list.String(), "Dockerfile": "FROM scratch\nCOPY bin /bin\nCOPY caller calls /\nRUN /caller /calls; cat /proc/self/oom_score_adj; busybox grep CapBnd /proc/self/status; ! test -e " + srv.Socket + "\n"})
	compile := exec.Command("go", "build", "-o", filepath.Join(dir, "caller"), "./testdata/call")
	compile.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}

	// What is tested must be true outside of a step too: the server answers.
	for _, addr := range []string{calls["loopback"], calls["uplink"], calls["gateway"], calls["outside"], calls["denied"]} {
		resp, err := http.Get("http://" + addr + "/")
		if err != nil {
			t.Fatalf("the test's own servers do not answer: %v", err)
		}
		resp.Body.Close()
	}
	p := &transcript{}
	if _, err := build.New(build.Options{Socket: srv.Socket}).Build(t.Context(), build.Request{Context: dir, Outputs: []build.Output{{Type: build.OutputCacheOnly}}, Progress: p.update}); err != nil {
		t.Fatalf("%v\n%s", err, p)
	}
	for name := range calls {
		if got := strings.Contains(p.String(), name+" reached"); got != want[name] {
			t.Errorf("a step reaches %s: %v, want %v\n%s", name, got, want[name], p)
		}
	}
	if !strings.Contains(p.String(), "\n500\n") {
		t.Errorf("a step is not the kernel's first choice when memory runs out: %s", p)
	}
	// A step that could change its network would leave it so to the next.
	const netAdmin = 1 << 12
	_, caps, _ := strings.Cut(p.String(), "CapBnd:")
	if set, err := strconv.ParseUint(strings.TrimSpace(strings.SplitN(caps+"\n", "\n", 2)[0]), 16, 64); err != nil || set&netAdmin != 0 {
		t.Errorf("capabilities of a step: %q, %v", caps, err)
	}
	t.Run("steps do not see each other", func(t *testing.T) {
		dir := files(t, map[string]string{"Dockerfile": `FROM scratch AS base
COPY bin /bin
FROM base AS serve
RUN busybox ip -4 -o addr show dev eth0; (sleep 4 | nc -l -p 99) & sleep 4; echo served > /served
FROM base AS call
ARG FIRST
RUN sleep 1; for i in 2 3 4 5 6 7 8 9; do if nc -w 1 ${FIRST}$i 99 </dev/null; then echo neighbour reached; fi; done; echo called > /called
FROM scratch
COPY --from=serve /served /
COPY --from=call /called /
`})
		p := &transcript{}
		first, _, _ := strings.Cut(srv.Subnet.Addr().String(), "/")
		if _, err := build.New(build.Options{Socket: srv.Socket}).Build(t.Context(), build.Request{Context: dir, Args: map[string]string{"FIRST": strings.TrimSuffix(first, "0")}, Outputs: []build.Output{{Type: build.OutputCacheOnly}}, Progress: p.update}); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(p.String(), "reached") || !strings.Contains(p.String(), "eth0") {
			t.Errorf("log: %s", p)
		}
	})
	srv.Stop(t)
	if left := srv.Left(t); len(left) > 0 {
		t.Errorf("left after the stop:\n%s", strings.Join(left, "\n"))
	}
}

// TestStopEndsSteps stops the builder while a step runs.
func TestStopEndsSteps(t *testing.T) {
	srv := buildtest.Start(t)
	dir := files(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY bin /bin\nRUN --mount=type=cache,target=/c echo up; sleep 876.5\n"})
	up := make(chan struct{}, 1)
	p := &transcript{onLog: func(s string) {
		if strings.Contains(s, "up") {
			select {
			case up <- struct{}{}:
			default:
			}
		}
	}}
	done := make(chan error, 1)
	go func() {
		_, err := build.New(build.Options{Socket: srv.Socket, Wait: time.Second}).Build(t.Context(), build.Request{Context: dir, Outputs: []build.Output{{Type: build.OutputCacheOnly}}, Progress: p.update})
		done <- err
	}()
	select {
	case <-up:
	case err := <-done:
		t.Fatal(err)
	}
	srv.Stop(t)
	if processRuns("sleep\x00876.5") {
		t.Error("the step runs on")
	}
	if left := srv.Left(t); len(left) > 0 {
		t.Errorf("left after the stop:\n%s", strings.Join(left, "\n"))
	}
	if err := <-done; err == nil {
		t.Error("the build ended well")
	}
}

// outside makes a network namespace with a web server on address .2 of each
// network; this machine is .1 there.
func outside(t *testing.T, networks ...string) {
	t.Helper()
	id := hex.EncodeToString([]byte{byte(os.Getpid() >> 8), byte(os.Getpid())})
	ns, host, peer := "psbo"+id, "psbo"+id+"h", "psbo"+id+"p"
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	run("ip", "netns", "add", ns)
	t.Cleanup(func() { run("ip", "netns", "delete", ns) })
	run("ip", "link", "add", host, "type", "veth", "peer", "name", peer, "netns", ns)
	run("ip", "link", "set", host, "up")
	run("ip", "-n", ns, "link", "set", peer, "up")
	run("ip", "-n", ns, "link", "set", "lo", "up")
	for _, n := range networks {
		run("ip", "address", "add", n+".1/24", "dev", host)
		run("ip", "-n", ns, "address", "add", n+".2/24", "dev", peer)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("outside"), 0o644); err != nil {
		t.Fatal(err)
	}
	web := exec.Command("ip", "netns", "exec", ns, "busybox", "httpd", "-f", "-p", "80", "-h", dir)
	if err := web.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = web.Process.Kill(); _ = web.Wait() })
	eventually(t, "the server outside answers", func() bool {
		resp, err := http.Get("http://" + networks[0] + ".2/")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil
	})
}
