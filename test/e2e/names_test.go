//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/penstock-dev/penstock/internal/host/cluster"
	hostexec "github.com/penstock-dev/penstock/internal/host/exec"
	"github.com/penstock-dev/penstock/internal/host/exec/container"
	"github.com/penstock-dev/penstock/internal/host/exec/exectest"
	"github.com/penstock-dev/penstock/internal/host/exec/sandbox"
	"github.com/penstock-dev/penstock/internal/host/image"
	"github.com/penstock-dev/penstock/internal/host/image/imagetest"
	"github.com/penstock-dev/penstock/internal/host/image/unpack"
)

// service is one of Penstock's, by the address that everybody calls it by.
type service struct {
	name, host, path, want string // what the status line has in it
}

var services = []service{
	{"api", "penstock.localhost:7080", "/readyz", " 200 "},
	{"git", "penstock.localhost:7080", "/git/demo/shop.git/info/refs?service=git-upload-pack", " 401 "},
	{"registry", "penstock.localhost:7080", "/v2/", " 401 "},
	{"gateway", "nobody.localhost:7070", "/", " 404 "},
}

// inCluster are the names that only the cluster has.
var inCluster = []service{
	{"api in the cluster", "penstock.penstock.svc:80", "/readyz", " 200 "},
	{"git in the cluster", "git.penstock.svc:80", "/git/demo/shop.git/info/refs?service=git-upload-pack", " 401 "},
	{"registry in the cluster", "registry.penstock.svc:7080", "/v2/", " 401 "},
	{"gateway in the cluster", "gateway.penstock.svc:7070", "/", " 404 "},
}

// script asks all of them with nothing but busybox, and prints a line for each.
func script(list []service) string {
	var b strings.Builder
	for _, s := range list {
		host, port, _ := strings.Cut(s.host, ":")
		fmt.Fprintf(&b, "echo '%s:' $(printf 'GET %s HTTP/1.0\\r\\nHost: %s\\r\\n\\r\\n' | busybox timeout 30 busybox nc %s %s | busybox head -n 1)\n", s.name, s.path, s.host, host, port)
	}
	return b.String()
}

func checkAnswers(t *testing.T, from, out string, list []service) {
	t.Helper()
	got := map[string]string{}
	for line := range strings.Lines(out) {
		name, answer, _ := strings.Cut(line, ":")
		got[name] = strings.TrimSpace(answer) + " "
	}
	for _, s := range list {
		if !strings.Contains(got[s.name], s.want) {
			t.Errorf("from %s, %s (http://%s%s) answers %q, want%s", from, s.name, s.host, s.path, got[s.name], s.want)
		}
	}
}

// TestNames checks that the addresses of Penstock's services mean the same
// everywhere, and that what is not for jobs cannot be reached by them.
func TestNames(t *testing.T) {
	p := NewPlatform(t)
	p.Up(t)
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(p.DataDir, "node", "admin.kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	ref := "penstock.localhost:7080/demo/busybox:1"
	p.Run(t, "image", "import", imagetest.Archive(t, imagetest.NeedBusybox(t), ref))
	c, err := cluster.New(config)
	if err != nil {
		t.Fatal(err)
	}
	web := runPod(t, kube, "web", ref, "mkdir /www; echo hello > /www/index.html; exec busybox httpd -f -p 8080 -h /www")
	webService := serve(t, kube, "web", 80, 8080)

	t.Run("host", func(t *testing.T) {
		d := c.Dialer(cluster.DialOptions{PodNetwork: true})
		for _, s := range append(append([]service(nil), services...), inCluster...) {
			if got := ask(t, d, s.host, s.path); !strings.Contains(got, s.want) {
				t.Errorf("%s answers %q", s.name, got)
			}
		}
		if out, err := exec.CommandContext(t.Context(), "git", "ls-remote", "http://penstock.localhost:7080/git/demo/none.git").CombinedOutput(); err == nil || strings.Contains(string(out), "resolve host") {
			t.Errorf("git does not find the name: %v, %s", err, out)
		}
	})
	for name, s := range jobs(t, p) {
		t.Run(name, func(t *testing.T) {
			checkAnswers(t, "a "+name, exectest.Must(t, s, script(services)), services)
			nodeFirst(t)
			unreachable(t, p, s, config.Host, web.Status.PodIP, webService)
		})
	}
	t.Run("pod", func(t *testing.T) {
		all := append(append([]service(nil), services...), inCluster...)
		runPod(t, kube, "asks", ref, script(all)+"echo end")
		var out string
		Eventually(t, 2*time.Minute, "the Pod has asked", func(ctx context.Context) error {
			b, err := kube.CoreV1().Pods("default").GetLogs("asks", &corev1.PodLogOptions{}).DoRaw(ctx)
			if err != nil {
				return err
			}
			if out = string(b); !strings.HasSuffix(out, "end\n") {
				return fmt.Errorf("so far it says %q", out)
			}
			return nil
		})
		checkAnswers(t, "a Pod", out, all)
	})
	t.Run("resolver", func(t *testing.T) {
		for where, o := range map[string]cluster.DialOptions{"on the Pods' network": {PodNetwork: true}, "through the API server, as of a foreign cluster": {}} {
			d := c.Dialer(o)
			for _, host := range []string{"web.default.svc:80", "web.default.svc.cluster.local:80", "web.default:80"} {
				if got := ask(t, d, host, "/index.html"); !strings.Contains(got, " 200 ") {
					t.Errorf("%s, %s answers %q", where, host, got)
				}
			}
		}
	})
}

// ask returns the status line of an answer.
func ask(t *testing.T, d *cluster.Dialer, host, path string) string {
	t.Helper()
	var line string
	Eventually(t, time.Minute, "http://"+host+path+" answers", func(ctx context.Context) error {
		conn, err := d.DialContext(ctx, "tcp", host)
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+path, nil)
		if err != nil {
			return err
		}
		if err := req.Write(conn); err != nil {
			return err
		}
		line, err = bufio.NewReader(conn).ReadString('\n')
		return err
	})
	return line
}

// jobs opens a session of each kind, as a job's runner does.
func jobs(t *testing.T, p *Platform) map[string]hostexec.Session {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "pnames-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	boxes, err := sandbox.New(sandbox.Options{Dir: filepath.Join(dir, "sandboxes"), Hide: []string{p.DataDir}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { boxes.Close() })
	store, err := image.NewStore(filepath.Join(dir, "images"), &image.Sources{}, unpack.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	containers, err := container.New(boxes, store, imagetest.Layout(t, imagetest.NeedBusybox(t)))
	if err != nil {
		t.Fatal(err)
	}
	spec := func(s *hostexec.SessionSpec) {
		s.Hosts = map[string]string{"penstock.localhost": "127.0.0.1"}
		s.Forward = map[string]string{"127.0.0.1:7080": p.Server, "127.0.0.1:7070": p.Gateway}
	}
	return map[string]hostexec.Session{
		"sandbox":   exectest.Open(t, boxes, spec),
		"container": exectest.Open(t, containers, spec),
	}
}

// nodeFirst makes the order of the firewall's chains what it is when the node
// starts after the first sandbox: its own before those of the sandboxes.
func nodeFirst(t *testing.T) {
	t.Helper()
	for _, chain := range []string{"PENSTOCK-FORWARD", "KUBE-FORWARD"} {
		if out, err := exec.CommandContext(t.Context(), "iptables", "--wait=10", "-I", "FORWARD", "1", "-j", chain).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		t.Cleanup(func() {
			if out, err := exec.Command("iptables", "--wait=10", "-D", "FORWARD", "-j", chain).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// unreachable tries the control ports, sockets and files of the platform that
// runs, from inside a job.
func unreachable(t *testing.T, p *Platform, s hostexec.Session, apiserver, pod, service string) {
	t.Helper()
	u, err := url.Parse(apiserver)
	if err != nil {
		t.Fatal(err)
	}
	for what, addr := range map[string]string{
		"the API server": u.Host, "the kubelet": "10.214.0.1:10250", "the server on the Pods' bridge": "10.214.0.1:7080",
		"the gateway on the Pods' bridge": "10.214.0.1:7070", "cluster DNS": "10.214.0.1:10053", "the API server's Service": "10.215.0.1:443", "a Pod": pod + ":8080",
		"a Service": service,
	} {
		c, err := net.DialTimeout("tcp", addr, 20*time.Second)
		if err != nil {
			t.Errorf("%s is not at %s: %v", what, addr, err)
			continue
		}
		c.Close()
		host, port, _ := strings.Cut(addr, ":")
		if out, code := exectest.Sh(t, s, fmt.Sprintf("busybox timeout 20 busybox nc %s %s </dev/null", host, port)); code == 0 {
			t.Errorf("%s can be reached at %s: %q", what, addr, out)
		}
	}
	if out, code := exectest.Sh(t, s, "busybox timeout 5 busybox nc 169.254.169.254 80 </dev/null"); code == 0 {
		t.Errorf("there is a metadata service: %q", out)
	}
	var paths []string
	for _, pattern := range []string{"*", "node/*", "node/run/*", "node/pki/*", "run/*", "ci/*"} {
		found, err := filepath.Glob(filepath.Join(p.DataDir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, found...)
	}
	if len(paths) < 10 {
		t.Errorf("the data directory holds only %v", paths)
	}
	for _, f := range append(paths, "/run/containerd", "/run/penstock-ci/slots", "/root/.kube") {
		if _, code := exectest.Sh(t, s, "[ -e "+f+" ]"); code == 0 {
			t.Errorf("%s is there", f)
		}
	}
}

func runPod(t *testing.T, kube kubernetes.Interface, name, ref, script string) *corev1.Pod {
	t.Helper()
	pods := kube.CoreV1().Pods("default")
	Eventually(t, time.Minute, "pod "+name+" is made", func(ctx context.Context) error { // its account may be late
		_, err := pods.Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
			Spec: corev1.PodSpec{
				RestartPolicy: corev1.RestartPolicyNever,
				Containers:    []corev1.Container{{Name: "main", Image: ref, ImagePullPolicy: corev1.PullIfNotPresent, Command: []string{"sh", "-c", script}}},
			},
		}, metav1.CreateOptions{})
		return err
	})
	var pod *corev1.Pod
	Eventually(t, 2*time.Minute, "pod "+name+" runs", func(ctx context.Context) (err error) {
		if pod, err = pods.Get(ctx, name, metav1.GetOptions{}); err != nil {
			return err
		}
		if pod.Status.Phase == corev1.PodPending {
			b, _ := json.Marshal(pod.Status.ContainerStatuses)
			return fmt.Errorf("it is pending: %s", b)
		}
		return nil
	})
	return pod
}

func serve(t *testing.T, kube kubernetes.Interface, name string, port, target int32) (address string) {
	t.Helper()
	created, err := kube.CoreV1().Services("default").Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": name},
			Ports:    []corev1.ServicePort{{Port: port, TargetPort: intstr.FromInt32(target)}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s:%d", created.Spec.ClusterIP, port)
}
