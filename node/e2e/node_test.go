//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const tools = "penstock.localhost:7080/penstock/tools:1"

// node is one running penstock-node.
type node struct {
	t      *testing.T
	dir    string
	args   []string
	log    string
	cmd    *exec.Cmd
	ended  chan error
	config *rest.Config
	client kubernetes.Interface
}

// status is what of GET /v1/status is looked at.
type status struct {
	PID         int   `json:"pid"`
	Ready       bool  `json:"ready"`
	ReadyMillis int64 `json:"readyMillis"`
	Components  []struct {
		Name        string `json:"name"`
		State       string `json:"state"`
		ReadyMillis int64  `json:"readyMillis"`
	} `json:"components"`
}

// newNode starts a node and stops it at the end of the test.
func newNode(t *testing.T, args ...string) *node {
	t.Helper()
	// Socket paths must be short, which t.TempDir is not.
	dir, err := os.MkdirTemp("", "pe")
	if err != nil {
		t.Fatal(err)
	}
	return newNodeIn(t, dir, args...)
}

// newNodeIn does so below dir, which it empties at the end.
func newNodeIn(t *testing.T, dir string, args ...string) *node {
	t.Helper()
	n := &node{t: t, dir: filepath.Join(dir, "node"), args: args, log: filepath.Join(dir, "log")}
	t.Cleanup(func() {
		n.stop()
		if t.Failed() {
			b, _ := os.ReadFile(n.log)
			t.Logf("log of the node:\n%s", last(b, 8<<10))
		}
		os.RemoveAll(n.dir)
		os.Remove(n.log)
		os.Remove(dir) // unless it is a mount point
	})
	n.start()
	n.ready(2 * time.Minute)
	return n
}

func last(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

func (n *node) start() {
	n.t.Helper()
	f, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.t.Fatal(err)
	}
	defer f.Close()
	n.cmd = exec.Command(os.Getenv(inside), append([]string{"run", "--data-dir", n.dir}, n.args...)...)
	n.cmd.Stdout, n.cmd.Stderr = f, f
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.ended = make(chan error, 1)
	go func(c *exec.Cmd, ended chan error) { ended <- c.Wait() }(n.cmd, n.ended)
}

// kill ends the process without asking.
func (n *node) kill() {
	n.t.Helper()
	if err := n.cmd.Process.Kill(); err != nil {
		n.t.Fatal(err)
	}
	<-n.ended
	n.ended <- errors.New("killed")
}

// stop runs `penstock-node stop`.
func (n *node) stop(args ...string) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, os.Getenv(inside), append([]string{"stop", "--data-dir", n.dir}, args...)...).CombinedOutput()
	if err != nil {
		n.t.Errorf("stop: %v\n%s", err, out)
	}
	select {
	case <-n.ended:
		n.ended <- nil
	case <-time.After(10 * time.Second):
		n.t.Error("the node still runs after its stop")
	}
}

func (n *node) control() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(n.dir, "run", "control.sock"))
	}}}
}

// ready waits for the node and connects to its apiserver.
func (n *node) ready(limit time.Duration) {
	n.t.Helper()
	deadline := time.Now().Add(limit)
	for {
		resp, err := n.control().Get("http://node/v1/ready?wait=" + time.Until(deadline).Round(time.Second).String())
		if err == nil {
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				break
			}
			n.t.Fatalf("not ready: %s %s", resp.Status, b)
		}
		select {
		case err := <-n.ended:
			b, _ := os.ReadFile(n.log)
			n.t.Fatalf("the node ended: %v\n%s", err, last(b, 4<<10))
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("not ready: %v", err)
		}
	}
	var err error
	if n.config, err = clientcmd.BuildConfigFromFlags("", filepath.Join(n.dir, "admin.kubeconfig")); err != nil {
		n.t.Fatal(err)
	}
	n.config.QPS = -1
	if n.client, err = kubernetes.NewForConfig(n.config); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) status() status {
	n.t.Helper()
	resp, err := n.control().Get("http://node/v1/status")
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	var s status
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		n.t.Fatal(err)
	}
	return s
}

// containerd returns the pid of the node's containerd.
func (n *node) containerd() int {
	n.t.Helper()
	b, err := os.ReadFile(filepath.Join(n.dir, "run", "containerd.pid"))
	if err != nil {
		n.t.Fatal(err)
	}
	var p struct {
		PID int `json:"pid"`
	}
	if err := json.Unmarshal(b, &p); err != nil {
		n.t.Fatal(err)
	}
	return p.PID
}

// eventually repeats try until it returns nil.
func eventually(t *testing.T, limit time.Duration, what string, try func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// get asks url once.
func get(url string) (string, error) {
	c := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return string(b), err
}

// leftovers returns what of a node is still there.
func leftovers(dir string) []string {
	var out []string
	if b, err := os.ReadFile("/proc/self/mountinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if strings.Contains(line, dir) {
				out = append(out, "mount: "+strings.TrimSpace(line))
			}
		}
	}
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		b, err := os.ReadFile(p)
		pid, _ := strconv.Atoi(strings.Split(p, "/")[2])
		if err == nil && bytes.Contains(b, []byte(dir)) && pid != os.Getpid() {
			out = append(out, fmt.Sprintf("process %d: %s", pid, bytes.ReplaceAll(b, []byte{0}, []byte{' '})))
		}
	}
	links, _ := net.Interfaces()
	for _, l := range links {
		if l.Name != "lo" && l.Flags&net.FlagLoopback == 0 && !strings.HasPrefix(l.Name, "ifb") {
			out = append(out, "interface: "+l.Name)
		}
	}
	for _, save := range []string{"iptables-save", "ip6tables-save"} {
		b, _ := exec.Command(save).Output()
		for line := range strings.Lines(string(b)) {
			if strings.HasPrefix(line, "-A") || (strings.HasPrefix(line, ":") && !builtin(line)) {
				out = append(out, save+": "+strings.TrimSpace(line))
			}
		}
	}
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/penstock-" + id(dir))
	more, _ := filepath.Glob("/sys/fs/cgroup/penstock-" + id(dir))
	for _, g := range append(groups, more...) {
		out = append(out, "cgroup: "+g)
	}
	cached, _ := filepath.Glob("/var/lib/cni/results/penstock-" + id(dir) + "-*")
	for _, f := range cached {
		out = append(out, "cni result: "+f)
	}
	return out
}

func builtin(line string) bool {
	for _, c := range []string{":PREROUTING ", ":INPUT ", ":FORWARD ", ":OUTPUT ", ":POSTROUTING "} {
		if strings.HasPrefix(line, c) {
			return true
		}
	}
	return false
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }
