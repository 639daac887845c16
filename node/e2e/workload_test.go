//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
)

const ns = "default"

func id(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return hex.EncodeToString(sum[:4])
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

func container(args ...string) corev1.Container {
	return corev1.Container{Name: "main", Image: tools, Args: args, ImagePullPolicy: corev1.PullIfNotPresent}
}

func labels(name string) map[string]string { return map[string]string{"app": name} }

func deployment(name string, replicas int32) *appsv1.Deployment {
	c := container("serve", ":8080", name)
	c.ReadinessProbe = &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromInt32(8080)}}}
	c.LivenessProbe = &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8080)}}}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels(name)},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels(name)}, Spec: corev1.PodSpec{Containers: []corev1.Container{c}}},
		},
	}
}

func service(name string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
		Selector: labels(name), Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}}}
}

// deploy makes a Deployment with a Service and waits until all are ready.
func (n *node) deploy(name string, replicas int32) *corev1.Service {
	n.t.Helper()
	ctx := n.t.Context()
	if _, err := n.client.AppsV1().Deployments(ns).Create(ctx, deployment(name, replicas), metav1.CreateOptions{}); err != nil {
		n.t.Fatal(err)
	}
	svc, err := n.client.CoreV1().Services(ns).Create(ctx, service(name), metav1.CreateOptions{})
	if err != nil {
		n.t.Fatal(err)
	}
	eventually(n.t, time.Minute, "deployment "+name, func() error {
		d, err := n.client.AppsV1().Deployments(ns).Get(ctx, name, metav1.GetOptions{})
		if err == nil && d.Status.ReadyReplicas != replicas {
			err = fmt.Errorf("%d of %d ready", d.Status.ReadyReplicas, replicas)
		}
		return err
	})
	return svc
}

// pod runs a Pod and waits until it runs.
func (n *node) pod(name string, c corev1.Container) *corev1.Pod {
	n.t.Helper()
	zero := int64(0)
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{c}, TerminationGracePeriodSeconds: &zero}}
	if _, err := n.client.CoreV1().Pods(ns).Create(n.t.Context(), p, metav1.CreateOptions{}); err != nil {
		n.t.Fatal(err)
	}
	return n.running(name)
}

func (n *node) running(name string) *corev1.Pod {
	n.t.Helper()
	var got *corev1.Pod
	eventually(n.t, time.Minute, "pod "+name, func() (err error) {
		got, err = n.client.CoreV1().Pods(ns).Get(n.t.Context(), name, metav1.GetOptions{})
		if err == nil && got.Status.Phase != corev1.PodRunning {
			err = fmt.Errorf("is %s: %+v", got.Status.Phase, got.Status.ContainerStatuses)
		}
		return err
	})
	return got
}

// exec runs a tool in a Pod.
func (n *node) exec(pod string, stdin io.Reader, args ...string) (string, error) {
	r := n.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(ns).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: append([]string{"/tools"}, args...), Stdin: stdin != nil, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	x, err := remotecommand.NewSPDYExecutor(n.config, "POST", r.URL())
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(n.t.Context(), 20*time.Second)
	defer cancel()
	var out, errs bytes.Buffer
	if err := x.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: stdin, Stdout: &out, Stderr: &errs}); err != nil {
		return out.String(), fmt.Errorf("%w: %s", err, errs.String())
	}
	return out.String(), nil
}

// TestWorkloads runs what applications need on one node.
func TestWorkloads(t *testing.T) {
	n := newNode(t, "--no-builder")
	s := n.status()
	for _, c := range s.Components {
		t.Logf("ready after %5d ms: %s", c.ReadyMillis, c.Name)
	}
	t.Run("service", n.testService)
	t.Run("volume", n.testVolume)
	t.Run("job", n.testJob)
	t.Run("cronjob", n.testCronJob)
	t.Run("streams", n.testStreams)
	t.Run("metrics", n.testMetrics)
	t.Run("names", n.testNames)
	t.Run("digest", n.testDigest)
	t.Run("adopt", n.testAdopt)
	t.Run("containerd", n.testContainerd)
}

// with makes the node report to a subtest.
func (n *node) with(t *testing.T) *node {
	m := *n
	m.t = t
	return &m
}

func (n *node) testService(t *testing.T) {
	n = n.with(t)
	svc := n.deploy("web", 2)
	want := func(out string, err error) error {
		if err == nil && !strings.Contains(out, "/x web") {
			err = fmt.Errorf("answer %q", out)
		}
		return err
	}
	eventually(t, 10*time.Second, "cluster ip from the host", func() error { return want(get("http://" + svc.Spec.ClusterIP + "/x")) })
	n.pod("client", container("sleep"))
	for _, name := range []string{svc.Spec.ClusterIP, "web", "web.default", "web.default.svc.cluster.local"} {
		out, err := n.exec("client", nil, "get", "http://"+name+"/x")
		if err := want(out, err); err != nil {
			t.Errorf("%s from a pod: %v", name, err)
		}
	}
	// A Pod reaches itself through its own Service.
	list, err := n.client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil {
		t.Fatal(err)
	}
	for range 8 { // both endpoints are chosen with all but certainty
		out, err := n.exec(list.Items[0].Name, nil, "get", "http://web/x")
		if err := want(out, err); err != nil {
			t.Fatalf("from behind the service: %v", err)
		}
	}
}

func (n *node) testVolume(t *testing.T) {
	n = n.with(t)
	c := container("sleep")
	c.VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	nonRoot := int64(1234)
	set := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "db"},
		Spec: appsv1.StatefulSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels("db")},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels("db")}, Spec: corev1.PodSpec{
				Containers: []corev1.Container{c}, TerminationGracePeriodSeconds: new(int64), SecurityContext: &corev1.PodSecurityContext{RunAsUser: &nonRoot}}},
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{
				ObjectMeta: metav1.ObjectMeta{Name: "data"},
				Spec: corev1.PersistentVolumeClaimSpec{
					AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
					Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Mi")}},
				},
			}},
			PersistentVolumeClaimRetentionPolicy: &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenDeleted: appsv1.DeletePersistentVolumeClaimRetentionPolicyType},
		},
	}
	if _, err := n.client.AppsV1().StatefulSets(ns).Create(t.Context(), set, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	n.running1(t, "db-0")
	if _, err := n.exec("db-0", nil, "write", "/data/x", "kept"); err != nil {
		t.Fatal(err)
	}
	first := n.running("db-0").UID
	if err := n.client.CoreV1().Pods(ns).Delete(t.Context(), "db-0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "a new pod", func() error {
		p, err := n.client.CoreV1().Pods(ns).Get(t.Context(), "db-0", metav1.GetOptions{})
		if err == nil && (p.UID == first || p.Status.Phase != corev1.PodRunning) {
			err = fmt.Errorf("%s is %s", p.UID, p.Status.Phase)
		}
		return err
	})
	if out, err := n.exec("db-0", nil, "cat", "/data/x"); err != nil || out != "kept\n" {
		t.Errorf("the volume holds %q, %v", out, err)
	}
	dirs, _ := filepath.Glob(filepath.Join(n.dir, "volumes", "default_data-db-0_*"))
	if len(dirs) != 1 {
		t.Fatalf("directories of the volume: %v", dirs)
	}
	if err := n.client.AppsV1().StatefulSets(ns).Delete(t.Context(), "db", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the volume is removed", func() error {
		if _, err := os.Stat(dirs[0]); err == nil {
			return fmt.Errorf("%s is still there", dirs[0])
		}
		return nil
	})
}

func (n *node) running1(t *testing.T, name string) {
	t.Helper()
	eventually(t, time.Minute, "pod "+name, func() error {
		p, err := n.client.CoreV1().Pods(ns).Get(t.Context(), name, metav1.GetOptions{})
		if err == nil && p.Status.Phase != corev1.PodRunning {
			err = fmt.Errorf("is %s", p.Status.Phase)
		}
		return err
	})
}

func jobSpec(args ...string) batchv1.JobSpec {
	return batchv1.JobSpec{BackoffLimit: new(int32), Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{container(args...)}}}}
}

func (n *node) testJob(t *testing.T) {
	n = n.with(t)
	for name, tc := range map[string]struct {
		args []string
		want batchv1.JobConditionType
	}{"good": {[]string{"print", "done"}, batchv1.JobComplete}, "bad": {[]string{"fail"}, batchv1.JobFailed}} {
		j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: jobSpec(tc.args...)}
		if _, err := n.client.BatchV1().Jobs(ns).Create(t.Context(), j, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, time.Minute, "job "+name, func() error {
			j, err := n.client.BatchV1().Jobs(ns).Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			for _, c := range j.Status.Conditions {
				if c.Type == tc.want && c.Status == corev1.ConditionTrue {
					return nil
				}
			}
			return fmt.Errorf("conditions %+v", j.Status.Conditions)
		})
	}
}

func (n *node) testCronJob(t *testing.T) {
	n = n.with(t)
	c := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "minutely"}, Spec: batchv1.CronJobSpec{Schedule: "* * * * *", JobTemplate: batchv1.JobTemplateSpec{Spec: jobSpec("print", "tick")}}}
	if _, err := n.client.BatchV1().CronJobs(ns).Create(t.Context(), c, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 90*time.Second, "a run of the cronjob", func() error {
		list, err := n.client.BatchV1().Jobs(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, j := range list.Items {
			if strings.HasPrefix(j.Name, "minutely-") && j.Status.Succeeded == 1 {
				return nil
			}
		}
		return fmt.Errorf("%d jobs, none of them", len(list.Items))
	})
}

func (n *node) testStreams(t *testing.T) {
	n = n.with(t)
	n.pod("ticker", container("tick", "100ms"))
	t.Run("exec", func(t *testing.T) {
		if out, err := n.exec("ticker", strings.NewReader("in and out"), "cat"); err != nil || out != "in and out" {
			t.Errorf("got %q, %v", out, err)
		}
		if _, err := n.exec("ticker", nil, "fail"); err == nil || !strings.Contains(err.Error(), "exit code 1") {
			t.Errorf("a failing command gives %v", err)
		}
	})
	t.Run("logs", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		r, err := n.client.CoreV1().Pods(ns).GetLogs("ticker", &corev1.PodLogOptions{Follow: true}).Stream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var got bytes.Buffer
		buf := make([]byte, 256)
		for !strings.Contains(got.String(), "tick 20\n") {
			k, err := r.Read(buf)
			if err != nil {
				t.Fatalf("after %q: %v", got.String(), err)
			}
			got.Write(buf[:k])
		}
		if !strings.HasPrefix(got.String(), "tick 1\ntick 2\n") {
			t.Errorf("begins with %.40q", got.String())
		}
	})
	t.Run("port-forward", func(t *testing.T) {
		list, err := n.client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
		if err != nil || len(list.Items) == 0 {
			t.Fatalf("no pod to forward to: %v", err)
		}
		tr, up, err := spdy.RoundTripperFor(n.config)
		if err != nil {
			t.Fatal(err)
		}
		u := n.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(ns).Name(list.Items[0].Name).SubResource("portforward").URL()
		stop, ready := make(chan struct{}), make(chan struct{})
		f, err := portforward.New(spdy.NewDialer(up, &http.Client{Transport: tr}, "POST", u), []string{"0:8080"}, stop, ready, io.Discard, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- f.ForwardPorts() }()
		defer func() { close(stop); <-ended }()
		select {
		case <-ready:
		case err := <-ended:
			ended <- err
			t.Fatal(err)
		}
		ports, err := f.GetPorts()
		if err != nil {
			t.Fatal(err)
		}
		out, err := get(fmt.Sprintf("http://127.0.0.1:%d/x", ports[0].Local))
		if err != nil || !strings.Contains(out, list.Items[0].Name+" /x web") {
			t.Errorf("got %q, %v", out, err)
		}
	})
}

func (n *node) testMetrics(t *testing.T) {
	n = n.with(t)
	for path, want := range map[string]string{
		"metrics":          "kubelet_running_pods",
		"metrics/resource": `pod_memory_working_set_bytes{namespace="default",pod="ticker"}`,
		"metrics/cadvisor": `container_cpu_usage_seconds_total{container="main"`,
		"stats/summary":    `"name": "ticker"`,
	} {
		eventually(t, 40*time.Second, path, func() error {
			b, err := n.client.CoreV1().RESTClient().Get().AbsPath("/api/v1/nodes/penstock/proxy/" + path).DoRaw(t.Context())
			if err == nil && !strings.Contains(string(b), want) {
				err = fmt.Errorf("%d bytes without %s", len(b), want)
			}
			return err
		})
	}
}

func (n *node) testNames(t *testing.T) {
	n = n.with(t)
	for name, want := range map[string]string{
		"kubernetes.default.svc.cluster.local": "10.215.0.1\n",
		"penstock.localhost":                   "10.214.0.1\n",
		"shop.localhost":                       "10.214.0.1\n",
	} {
		out, err := n.exec("client", nil, "lookup", name)
		if err != nil || out != want {
			t.Errorf("%s is %q, %v; want %q", name, out, err, want)
		}
	}
	if out, err := n.exec("client", nil, "lookup", "no-such-service.default.svc.cluster.local"); err == nil {
		t.Errorf("a name that does not exist resolves to %q", out)
	}
}

// testDigest: a Pod may name an imported image by its digest.
func (n *node) testDigest(t *testing.T) {
	n = n.with(t)
	resp, err := n.control().Get("http://node/v1/images")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	i := strings.Index(string(b), "penstock.localhost:7080/penstock/tools@sha256:")
	if i < 0 {
		t.Fatalf("no name by digest in %s", b)
	}
	ref := string(b[i : i+strings.IndexByte(string(b[i:]), '"')])
	c := container("sleep")
	c.Image = ref
	n.pod("by-digest", c)
	// A missing image is an error that names it, not a wait for ever.
	c.Image = "penstock.localhost:7080/nobody/nothing:1"
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "missing"}, Spec: corev1.PodSpec{Containers: []corev1.Container{c}}}
	if _, err := n.client.CoreV1().Pods(ns).Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the missing image is reported", func() error {
		p, err := n.client.CoreV1().Pods(ns).Get(t.Context(), "missing", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, s := range p.Status.ContainerStatuses {
			if s.State.Waiting != nil && strings.Contains(s.State.Waiting.Reason+s.State.Waiting.Message, "Image") {
				return nil
			}
		}
		return fmt.Errorf("status %+v", p.Status.ContainerStatuses)
	})
	if err := n.client.CoreV1().Pods(ns).Delete(t.Context(), "missing", metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil && !apierrors.IsNotFound(err) {
		t.Error(err)
	}
}
