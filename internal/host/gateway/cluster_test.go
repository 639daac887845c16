package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// apiServer is a real one: penstock-node without a node.
type apiServer struct {
	dir string
	cmd *exec.Cmd
}

func newAPIServer(t *testing.T) *apiServer {
	t.Helper()
	program := filepath.Join("..", "..", "..", "bin", "penstock-node")
	if bin := os.Getenv("PENSTOCK_BIN"); bin != "" {
		program = filepath.Join(bin, "penstock-node")
	}
	if _, err := os.Stat(program); err != nil {
		t.Skipf("this test needs a real API server: %v (make build)", err)
	}
	a := &apiServer{dir: filepath.Join(shortDir(t), "n"), cmd: exec.Command(program)}
	return a
}

func (a *apiServer) kubeconfig() string { return filepath.Join(a.dir, "admin.kubeconfig") }

func (a *apiServer) start(t *testing.T) {
	t.Helper()
	var log bytes.Buffer
	a.cmd = exec.Command(a.cmd.Path, "run", "--api-only", "--apiserver-port", "0", "--data-dir", a.dir)
	a.cmd.Stdout, a.cmd.Stderr = &log, &log
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd := a.cmd
	t.Cleanup(func() { // twice is harmless
		cmd.Process.Kill()
		cmd.Wait()
	})
	eventually(t, 2*time.Minute, "the API server is ready", func() error {
		c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(a.dir, "run", "control.sock"))
			}}}
		res, err := c.Get("http://node/v1/ready")
		if err != nil {
			return err
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return errors.New(res.Status)
		}
		return nil
	})
}

func (a *apiServer) kill(t *testing.T) {
	t.Helper()
	if err := a.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = a.cmd.Wait() // "signal: killed"
}

func (a *apiServer) client(t *testing.T) *kubernetes.Clientset {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", a.kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	k, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func eventually(t *testing.T, timeout time.Duration, what string, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, timeout, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// outsideAddress is one of this machine that an EndpointSlice may name, which
// a loopback address is not.
func outsideAddress(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	t.Skip("this machine has no address but loopback, and an EndpointSlice may not name that")
	return ""
}

func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("starts an API server")
	}
	api := newAPIServer(t)
	address := outsideAddress(t)
	ln, err := net.Listen("tcp", address+":0")
	if err != nil {
		t.Fatal(err)
	}
	app := &httptest.Server{Listener: ln, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "app") })}}
	app.Start()
	defer app.Close()
	port := int32(ln.Addr().(*net.TCPAddr).Port)

	dir := shortDir(t)
	opts := Options{Dir: dir, Kubeconfig: api.kubeconfig()}
	opts.Proxy.Hold = -1
	gw := startGateway(t, opts) // the cluster appears later
	api.start(t)
	ctx, k := t.Context(), api.client(t)

	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	if _, err := k.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	if _, err := k.CoreV1().Services("shop").Create(ctx, service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	name, ready := "", true
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
	}
	if slice, err = k.DiscoveryV1().EndpointSlices("shop").Create(ctx, slice, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	prefix := networkingv1.PathTypePrefix
	ingress := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{
		Host: "shop.localhost", IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
			Path: "/", PathType: &prefix, Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}}},
		}}}},
	}}}}
	if _, err := k.NetworkingV1().Ingresses("shop").Create(ctx, ingress, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	answers := func(gw *running, host string, want int) {
		t.Helper()
		began := time.Now()
		eventually(t, 30*time.Second, fmt.Sprint(host, " answers ", want), func() error {
			if code, body := gw.get(t, host); code != want {
				return fmt.Errorf("%d %s", code, body)
			}
			return nil
		})
		t.Logf("%s answers %d after %v", host, want, time.Since(began).Round(time.Millisecond))
	}
	answers(gw, "shop.localhost", 200)
	answers(gw, "web.localhost", 200)
	answers(gw, "web.shop.localhost", 200)
	answers(gw, "other.localhost", 404)
	eventually(t, 30*time.Second, "the Ingress has a status", func() error {
		in, err := k.NetworkingV1().Ingresses("shop").Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		at := in.Status.LoadBalancer.Ingress
		if len(at) != 1 || at[0].Hostname != "localhost" || len(at[0].Ports) != 1 || fmt.Sprint("127.0.0.1:", at[0].Ports[0].Port) != gw.addr {
			return fmt.Errorf("%+v", at)
		}
		return nil
	})

	httpRoutesOf(t, api.dynamic(t), func(host string, want int) { answers(gw, host, want) })

	notReady := false
	slice.Endpoints[0].Conditions.Ready = &notReady
	if slice, err = k.DiscoveryV1().EndpointSlices("shop").Update(ctx, slice, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	answers(gw, "shop.localhost", 503)
	slice.Endpoints[0].Conditions.Ready = &ready
	if _, err = k.DiscoveryV1().EndpointSlices("shop").Update(ctx, slice, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	answers(gw, "shop.localhost", 200)

	api.kill(t)
	eventually(t, 30*time.Second, "the loss is noticed", func() error {
		if st := gw.status(t); st.Watch.State != "lost" || st.Watch.Reason == "" {
			return fmt.Errorf("%+v", st.Watch)
		}
		return nil
	})
	answers(gw, "shop.localhost", 200)
	// Another gateway, as after a crash of this one, begins with what it knew.
	if err := gw.stop(); err != nil {
		t.Fatal(err)
	}
	gw = startGateway(t, opts)
	answers(gw, "shop.localhost", 200)
	answers(gw, "route.localhost", 200)
	if st := gw.status(t); st.Table.Source != "disk" {
		t.Errorf("%+v", st.Table)
	}

	api.start(t)
	k = api.client(t)
	if err := k.CoreV1().Services("shop").Delete(ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	answers(gw, "web.localhost", 404)
	answers(gw, "shop.localhost", 503) // the Ingress is still there and says so
	if _, body := gw.get(t, "shop.localhost"); !strings.Contains(body, "it does not exist") {
		t.Errorf("%s", body)
	}
	if st := gw.status(t); st.Table.Source != "live" || st.Watch.State != "live" {
		t.Errorf("%+v", st)
	}
}
