//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// load asks a Service's endpoints all the time and counts.
type load struct {
	asked, lost atomic.Int64
	first       atomic.Pointer[string]
	stop        context.CancelFunc
	wg          sync.WaitGroup
}

func startLoad(ctx context.Context, urls ...string) *load {
	l := &load{}
	ctx, l.stop = context.WithCancel(ctx)
	for _, u := range urls {
		l.wg.Go(func() {
			for ctx.Err() == nil {
				_, err := get(u)
				l.asked.Add(1)
				if err != nil {
					l.lost.Add(1)
					s := err.Error()
					l.first.CompareAndSwap(nil, &s)
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	return l
}

func (l *load) check(t *testing.T) {
	t.Helper()
	l.stop()
	l.wg.Wait()
	t.Logf("%d requests, %d lost", l.asked.Load(), l.lost.Load())
	if l.asked.Load() < 10 {
		t.Errorf("only %d requests were made", l.asked.Load())
	}
	if p := l.first.Load(); p != nil {
		t.Errorf("%d of %d requests lost, the first by: %s", l.lost.Load(), l.asked.Load(), *p)
	}
}

// containers returns id and restarts of each container of app=web.
func (n *node) containers() (map[string]string, []string) {
	n.t.Helper()
	list, err := n.client.CoreV1().Pods(ns).List(n.t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil {
		n.t.Fatal(err)
	}
	out := map[string]string{}
	var ips []string
	for _, p := range list.Items {
		for _, s := range p.Status.ContainerStatuses {
			out[p.Name] = fmt.Sprint(s.ContainerID, " restarts ", s.RestartCount)
		}
		ips = append(ips, "http://"+net.JoinHostPort(p.Status.PodIP, "8080")+"/x")
	}
	return out, ips
}

func same(a, b map[string]string) error {
	if len(a) == 0 || len(a) != len(b) {
		return fmt.Errorf("before %v, after %v", a, b)
	}
	for k, v := range a {
		if b[k] != v {
			return fmt.Errorf("%s was %s, is %s", k, v, b[k])
		}
	}
	return nil
}

// testAdopt kills penstock-node while Pods serve and starts it again.
func (n *node) testAdopt(t *testing.T) {
	m := n.with(t)
	before, urls := m.containers()
	svc, err := m.client.CoreV1().Services(ns).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	runtime := m.containerd()
	l := startLoad(t.Context(), append(urls, "http://"+svc.Spec.ClusterIP+"/x")...)
	m.kill()
	time.Sleep(500 * time.Millisecond) // the load must see the time without a node
	if !alive(runtime) {
		t.Error("containerd ended with penstock-node")
	}
	m.start()
	m.ready(time.Minute)
	// One full round of the kubelet: it must not want to change anything.
	time.Sleep(3 * time.Second)
	l.check(t)
	if m.containerd() != runtime {
		t.Error("containerd was replaced")
	}
	after, _ := m.containers()
	if err := same(before, after); err != nil {
		t.Error(err)
	}
	n.cmd, n.ended, n.client, n.config = m.cmd, m.ended, m.client, m.config
	t.Logf("ready %d ms after the start of the new process", m.status().ReadyMillis)
}

// testContainerd kills containerd while Pods serve.
func (n *node) testContainerd(t *testing.T) {
	n = n.with(t)
	before, urls := n.containers()
	pid := n.containerd()
	l := startLoad(t.Context(), urls...)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "a new containerd", func() error {
		if p := n.containerd(); p == pid || !alive(p) {
			return fmt.Errorf("pid %d", p)
		}
		return nil
	})
	n.pod("after-containerd", container("sleep"))
	l.check(t)
	after, _ := n.containers()
	if err := same(before, after); err != nil {
		t.Error(err)
	}
	if _, err := n.exec(n.podOf("web"), nil, "print", "x"); err != nil {
		t.Errorf("exec in a pod from before: %v", err)
	}
}

func (n *node) podOf(app string) string {
	n.t.Helper()
	list, err := n.client.CoreV1().Pods(ns).List(n.t.Context(), metav1.ListOptions{LabelSelector: "app=" + app})
	if err != nil || len(list.Items) == 0 {
		n.t.Fatalf("no pod of %s: %v", app, err)
	}
	return list.Items[0].Name
}

// TestStop: nothing is left, with a live process and without one, and the data
// is still there at the next start.
func TestStop(t *testing.T) {
	n := newNode(t, "--no-builder")
	n.deploy("web", 2)
	c := container("sleep")
	c.VolumeMounts = []corev1.VolumeMount{{Name: "e", MountPath: "/e"}}
	zero := int64(0)
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "mounts"}, Spec: corev1.PodSpec{
		Containers: []corev1.Container{c}, TerminationGracePeriodSeconds: &zero,
		Volumes: []corev1.Volume{{Name: "e", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}}},
	}}
	if _, err := n.client.CoreV1().Pods(ns).Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	n.running("mounts")

	began := time.Now()
	n.stop()
	t.Logf("stop took %s", time.Since(began).Round(time.Millisecond))
	for _, l := range leftovers(n.dir) {
		t.Errorf("left by the stop of a live node: %s", l)
	}

	n.start()
	n.ready(time.Minute)
	eventually(t, time.Minute, "pods run again", func() error {
		d, err := n.client.AppsV1().Deployments(ns).Get(t.Context(), "web", metav1.GetOptions{})
		if err == nil && d.Status.ReadyReplicas != 2 {
			err = fmt.Errorf("%d ready", d.Status.ReadyReplicas)
		}
		return err
	})

	n.kill()
	n.stop()
	for _, l := range leftovers(n.dir) {
		t.Errorf("left by the stop of a dead node: %s", l)
	}

	n.start()
	n.ready(time.Minute)
	n.kill()
	if err := syscall.Kill(n.containerd(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	n.stop("--wipe")
	for _, l := range leftovers(n.dir) {
		t.Errorf("left by the stop without containerd: %s", l)
	}
	if left, _ := filepath.Glob(filepath.Join(n.dir, "*")); len(left) > 0 {
		t.Errorf("left by --wipe: %v", left)
	}
}

// TestTerminate: SIGTERM ends the process, not the Pods.
func TestTerminate(t *testing.T) {
	n := newNode(t, "--no-builder")
	n.deploy("web", 1)
	before, urls := n.containers()
	l := startLoad(t.Context(), urls...)
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-n.ended:
		if err != nil {
			t.Errorf("ended with %v", err)
		}
		n.ended <- nil
	case <-time.After(20 * time.Second):
		t.Fatal("does not end")
	}
	n.start()
	n.ready(time.Minute)
	l.check(t)
	after, _ := n.containers()
	if err := same(before, after); err != nil {
		t.Error(err)
	}
}

// TestAPIOnly runs two control planes beside each other.
func TestAPIOnly(t *testing.T) {
	a := newNode(t, "--api-only", "--apiserver-port", "0")
	b := newNode(t, "--api-only", "--apiserver-port", "0")
	if a.config.Host == b.config.Host {
		t.Fatalf("both answer at %s", a.config.Host)
	}
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "mine"}}
	if _, err := a.client.CoreV1().ConfigMaps(ns).Create(t.Context(), cm, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.client.CoreV1().ConfigMaps(ns).Get(t.Context(), "mine", metav1.GetOptions{}); err == nil {
		t.Error("the two share their state")
	}
	if list, err := a.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != 0 {
		t.Errorf("nodes: %v, %v", list, err)
	}
	t.Logf("ready after %d and %d ms", a.status().ReadyMillis, b.status().ReadyMillis)
	a.kill()
	host := a.config.Host
	a.start()
	a.ready(time.Minute)
	if a.config.Host != host {
		t.Errorf("was at %s, is at %s after a restart", host, a.config.Host)
	}
	if _, err := a.client.CoreV1().ConfigMaps(ns).Get(t.Context(), "mine", metav1.GetOptions{}); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

// TestRefusals: what cannot work is refused at once, with a hint.
func TestRefusals(t *testing.T) {
	dir, err := os.MkdirTemp("", "pe")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	newer := filepath.Join(dir, "newer")
	if err := os.MkdirAll(newer, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(newer, "layout"), []byte("99\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(dir, "foreign")
	if err := os.MkdirAll(filepath.Join(foreign, "photos"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name  string
		args  []string
		env   []string
		user  uint32
		code  int
		error string
		hint  string
	}{
		{"port taken", []string{"--api-only", "--apiserver-port", port, "--data-dir", filepath.Join(dir, "p")}, nil, 0, 3, "address already in use", "--apiserver-port"},
		{"not root", []string{"--data-dir", filepath.Join(dir, "u")}, nil, 65534, 4, "needs root", "sudo"},
		{"may not write", []string{"--api-only", "--apiserver-port", "0", "--data-dir", filepath.Join(dir, "x", "y")}, nil, 65534, 3, "permission denied", "--data-dir"},
		{"newer layout", []string{"--api-only", "--data-dir", newer}, nil, 0, 3, "has layout 99", "newer penstock-node"},
		{"foreign directory", []string{"--api-only", "--data-dir", foreign}, nil, 0, 3, `holds "photos"`, "empty directory"},
		{"ranges overlap", []string{"--service-cidr", "10.214.8.0/24", "--data-dir", filepath.Join(dir, "o")}, nil, 0, 2, "overlap", ""},
		{"unknown flag", []string{"--frobnicate"}, nil, 0, 2, "unknown flag", "--help"},
		{"path too long", []string{"--api-only", "--data-dir", filepath.Join(dir, strings.Repeat("a", 90))}, nil, 0, 3, "too long for unix sockets", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			c := exec.CommandContext(ctx, os.Getenv(inside), append([]string{"run"}, tc.args...)...)
			c.Env = append(os.Environ(), tc.env...)
			if tc.user != 0 {
				c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: tc.user, Gid: tc.user}}
			}
			out, err := c.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != tc.code {
				t.Errorf("ended with %v, want code %d", err, tc.code)
			}
			if !strings.Contains(string(out), tc.error) {
				t.Errorf("says %q, want %q in it", out, tc.error)
			}
			if tc.hint != "" && !strings.Contains(string(out), "hint: ") || !strings.Contains(string(out), tc.hint) {
				t.Errorf("says %q, want a hint with %q", out, tc.hint)
			}
		})
	}
}

// TestMissing hides what the node needs of the machine: it says which package
// has it.
func TestMissing(t *testing.T) {
	dir, err := os.MkdirTemp("", "pe")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	which := func(name string) string {
		p, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if p, err = filepath.EvalSymlinks(p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	for name, tc := range map[string]struct{ hide, error, hint string }{
		"runc":       {"mount --bind /dev/null " + which("runc"), "no runc", "apt-get install -y runc"},
		"containerd": {"mount --bind /dev/null " + which("containerd"), "no containerd", "apt-get install -y containerd"},
		"plugins":    {"for d in /usr/lib/cni /opt/cni/bin /usr/libexec/cni; do [ ! -d $d ] || mount -t tmpfs none $d; done", "CNI plugins bridge", "apt-get install -y containernetworking-plugins"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			out, err := exec.CommandContext(ctx, "unshare", "--mount", "--", "/bin/sh", "-c", tc.hide+` && exec "$0" run --data-dir "$1"`, os.Getenv(inside), filepath.Join(dir, "n")).CombinedOutput()
			if err == nil || !strings.Contains(string(out), tc.error) || !strings.Contains(string(out), "hint: "+tc.hint) {
				t.Errorf("%v, says %s", err, out)
			}
		})
	}
}

// TestSecond starts a second node over the first one's directory and network.
func TestSecond(t *testing.T) {
	n := newNode(t, "--no-builder")
	for name, tc := range map[string]struct{ dir, want string }{
		"same directory": {n.dir, "in use by another process"},
		"same network":   {n.dir + "2", "belongs to somebody else"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			out, err := exec.CommandContext(ctx, os.Getenv(inside), "run", "--no-builder", "--data-dir", tc.dir).CombinedOutput()
			if err == nil || !strings.Contains(string(out), tc.want) || !strings.Contains(string(out), "hint: ") {
				t.Errorf("%v, %s", err, out)
			}
		})
	}
	if !n.status().Ready {
		t.Error("the first node is not ready any more")
	}
}
