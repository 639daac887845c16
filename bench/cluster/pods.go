//go:build linux

package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"

	"github.com/penstock-dev/penstock/bench/app"
)

const (
	podNamespace = "bench-pods"
	podImage     = "penstock.localhost:7080/bench/busybox:1"
)

// pods measures a Pod from its creation to Running, and a Deployment of 20.
func pods(ctx context.Context, p *platform, r *report) error {
	if err := p.ensureUp(ctx); err != nil {
		return err
	}
	image, err := busyboxImage()
	if err != nil {
		return err
	}
	if _, err := socket(ctx, p.control(), http.MethodPost, "/v1/images?name="+url.QueryEscape(podImage), bytes.NewReader(image)); err != nil {
		return fmt.Errorf("import the image: %w", err)
	}
	k, err := p.kube()
	if err != nil {
		return err
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: podNamespace}}
	if _, err := k.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	defer func() {
		// The data directory goes next, and this with it.
		_ = k.CoreV1().Namespaces().Delete(context.WithoutCancel(ctx), podNamespace, metav1.DeleteOptions{})
	}()
	if err := awaitServiceAccount(ctx, k); err != nil {
		return err
	}
	var create []float64
	for i := range max(5, p.rounds) {
		d, err := podToRunning(ctx, k, fmt.Sprint("one-", i))
		if err != nil {
			return err
		}
		create = append(create, d)
	}
	r.add("Pod: create to Running", "s", create, "")

	var deploy []float64
	for i := range p.rounds {
		profile := func() {}
		if i == 0 { // the profile costs time itself: not in a round that may be the best
			profile = p.profileNode(ctx, r, "deployment-of-20", 5*time.Second)
		}
		d, err := deployment(ctx, k, fmt.Sprint("twenty-", i), 20)
		profile()
		if err != nil {
			return err
		}
		deploy = append(deploy, d)
	}
	r.add("Deployment of 20 Pods: create to available", "s", deploy, "")
	return nil
}

func podSpec() corev1.PodSpec {
	no, grace := false, int64(0)
	return corev1.PodSpec{
		AutomountServiceAccountToken:  &no,
		TerminationGracePeriodSeconds: &grace,
		Containers:                    []corev1.Container{{Name: "c", Image: podImage, ImagePullPolicy: corev1.PullIfNotPresent, Command: []string{"/busybox", "sleep", "3600"}}},
	}
}

func awaitServiceAccount(ctx context.Context, k *kubernetes.Clientset) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		_, err := k.CoreV1().ServiceAccounts(podNamespace).Get(ctx, "default", metav1.GetOptions{})
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// podToRunning creates a Pod and watches until its container runs.
func podToRunning(ctx context.Context, k *kubernetes.Clientset, name string) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	api := k.CoreV1().Pods(podNamespace)
	w, err := api.Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()})
	if err != nil {
		return 0, err
	}
	defer w.Stop()
	began := time.Now()
	if _, err := api.Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: podSpec()}, metav1.CreateOptions{}); err != nil {
		return 0, err
	}
	for e := range w.ResultChan() {
		pod, ok := e.Object.(*corev1.Pod)
		if !ok || pod.Status.Phase != corev1.PodRunning {
			continue
		}
		d := time.Since(began).Seconds()
		return d, deletePod(ctx, k, name)
	}
	return 0, errors.Join(fmt.Errorf("the Pod %s did not run", name), ctx.Err())
}

// deletePod waits until it is gone, so that it is not in the way of the next.
func deletePod(ctx context.Context, k *kubernetes.Clientset, name string) error {
	if err := k.CoreV1().Pods(podNamespace).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	for {
		if _, err := k.CoreV1().Pods(podNamespace).Get(ctx, name, metav1.GetOptions{}); apierrors.IsNotFound(err) {
			return nil
		} else if ctx.Err() != nil {
			return ctx.Err()
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// deployment creates one with n replicas and waits until all are available and,
// after that, gone again.
func deployment(ctx context.Context, k *kubernetes.Clientset, name string, n int32) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	api := k.AppsV1().Deployments(podNamespace)
	labels := map[string]string{"bench": name}
	w, err := api.Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()})
	if err != nil {
		return 0, err
	}
	defer w.Stop()
	began := time.Now()
	_, err = api.Create(ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.DeploymentSpec{
		Replicas: &n, Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: podSpec()},
	}}, metav1.CreateOptions{})
	if err != nil {
		return 0, err
	}
	for e := range w.ResultChan() {
		d, ok := e.Object.(*appsv1.Deployment)
		if !ok || d.Status.AvailableReplicas < n {
			continue
		}
		took := time.Since(began).Seconds()
		background := metav1.DeletePropagationBackground
		if err := api.Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &background}); err != nil {
			return 0, err
		}
		for {
			left, err := k.CoreV1().Pods(podNamespace).List(ctx, metav1.ListOptions{LabelSelector: "bench=" + name})
			if err != nil {
				return 0, err
			}
			if len(left.Items) == 0 {
				return took, nil
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	return 0, errors.Join(fmt.Errorf("the Deployment %s did not become available", name), ctx.Err())
}

// busyboxImage makes an image of this machine's busybox as `docker save` would
// write it.
func busyboxImage() ([]byte, error) {
	program, err := os.ReadFile(app.Busybox)
	if err != nil {
		return nil, fmt.Errorf("read busybox: %w (apt-get install busybox-static)", err)
	}
	layer, err := tarOf(file{"busybox", program, 0o755})
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))}},
	})
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{podImage}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return nil, err
	}
	return tarOf(file{"config.json", config, 0o644}, file{"layer.tar", layer, 0o644}, file{"manifest.json", manifest, 0o644})
}

type file struct {
	name    string
	content []byte
	mode    int64
}

func tarOf(files ...file) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.content))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return out.Bytes(), err
}
