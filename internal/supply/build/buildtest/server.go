//go:build linux

// Package buildtest starts a real image builder for tests, alone, without the
// rest of the node.
package buildtest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Server is a builder in a process of its own.
type Server struct {
	Socket string
	Root   string
	Bridge string
	Subnet netip.Prefix

	bin  string
	dir  string
	args []string

	mu   sync.Mutex
	cmd  *exec.Cmd
	hold io.Closer
	log  *bytes.Buffer
}

// program builds the test server and returns the path of an open file without
// a name, so that nothing is left of it after the tests.
var program = sync.OnceValues(func() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		return "", fmt.Errorf("find the source of the test server")
	}
	dir, err := os.MkdirTemp("", "penstock-buildtest-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "testserver")
	cmd := exec.Command("go", "build", "-o", bin, "./internal/buildkit/testserver")
	cmd.Dir = filepath.Join(filepath.Dir(file), "../../../../node")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the test server: %w\n%s", err, out)
	}
	fd, err := unix.Open(bin, unix.O_PATH|unix.O_CLOEXEC, 0) // open for as long as the tests run
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd), nil
})

// Start starts a builder that ends with the test, args being further arguments
// of the test server. It skips the test when the machine cannot run one.
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	return StartAt(tb, "", args...)
}

// StartAt is Start with the directory for cache and state, "" for one of its
// own.
func StartAt(tb testing.TB, root string, args ...string) *Server {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("the image builder needs root")
	}
	for _, tool := range []string{"runc", "iptables", "git"} {
		if _, err := exec.LookPath(tool); err != nil {
			tb.Skipf("the image builder needs %s", tool)
		}
	}
	bin, err := program()
	if err != nil {
		tb.Fatal(err)
	}
	// Short paths: a socket's must stay below 104 characters.
	dir, err := os.MkdirTemp("", "psb")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	id := make([]byte, 3)
	_, _ = rand.Read(id) // never fails
	s := &Server{
		Socket: filepath.Join(dir, "s.sock"), Root: filepath.Join(dir, "root"),
		Bridge: "psbt" + hex.EncodeToString(id), bin: bin, dir: dir, args: args,
		Subnet: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 218, id[0], 0}), 24),
	}
	if root != "" {
		s.Root = root
	}
	tb.Cleanup(func() {
		s.Stop(tb)
		if tb.Failed() {
			tb.Logf("image builder:\n%s", s.log)
		}
	})
	s.Run(tb)
	return s
}

// Run starts the process and waits until it is ready.
func (s *Server) Run(tb testing.TB) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.log == nil {
		s.log = &bytes.Buffer{}
	}
	cmd := exec.Command(s.bin, append([]string{"-root", s.Root, "-socket", s.Socket, "-bridge", s.Bridge, "-subnet", s.Subnet.String()}, s.args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	cmd.Stderr = s.log
	// It ends when this process does, however that ends.
	if s.hold, err = cmd.StdinPipe(); err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	s.cmd = cmd
	ready := make(chan error, 1)
	go func() {
		line, err := bufio.NewReader(io.LimitReader(out, 1<<10)).ReadString('\n')
		if strings.TrimSpace(line) != "ready" {
			ready <- fmt.Errorf("not ready: %q %w", line, err)
			return
		}
		ready <- nil
	}()
	select {
	case err = <-ready:
	case <-time.After(30 * time.Second):
		err = context.DeadlineExceeded
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		s.cmd = nil
		tb.Fatalf("start the image builder: %v\n%s", err, s.log)
	}
}

// Kill ends the process as a crash would.
func (s *Server) Kill(tb testing.TB) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.cmd.Process.Kill(); err != nil {
		tb.Fatal(err)
	}
	_ = s.cmd.Wait() // killed
	s.cmd = nil
}

// Stop ends the process in order and waits for it.
func (s *Server) Stop(tb testing.TB) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		tb.Error(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			tb.Errorf("stop the image builder: %v", err)
		}
	case <-time.After(60 * time.Second):
		_ = s.cmd.Process.Kill()
		tb.Error("the image builder did not stop")
	}
	s.cmd = nil
}

// Left lists what of the server is on this machine: mounts, interfaces,
// packet filter rules, control groups.
func (s *Server) Left(tb testing.TB) []string {
	tb.Helper()
	var left []string
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, s.dir) || strings.Contains(line, s.Root+"/") {
			left = append(left, strings.TrimSpace(line))
		}
	}
	if _, err := os.Stat("/sys/class/net/" + s.Bridge); err == nil {
		left = append(left, "interface "+s.Bridge)
	}
	rules, err := exec.Command("iptables-save").Output()
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(rules)) {
		if strings.Contains(line, s.Bridge) {
			left = append(left, strings.TrimSpace(line))
		}
	}
	groups, err := filepath.Glob("/sys/fs/cgroup/*/penstock-build-*")
	if err != nil {
		tb.Fatal(err)
	}
	sum := sha256.Sum256([]byte(s.Root))
	for _, g := range groups {
		if strings.HasSuffix(g, hex.EncodeToString(sum[:4])) {
			left = append(left, "control group "+g)
		}
	}
	return left
}
