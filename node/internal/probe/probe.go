// Package probe proves that the node works: it runs one small Pod through the
// apiserver, the scheduler, the kubelet, containerd and the Pod network, and
// asks it for an answer. Until it has one, the node is not ready.
package probe

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"

	"github.com/penstock-dev/penstock/node/internal/infra"
)

const (
	namespace = metav1.NamespaceSystem
	port      = "8080"
	label     = "penstock.dev/probe"
)

// Run probes once, calls ready and waits for the end of ctx.
func Run(ctx context.Context, client kubernetes.Interface, log *slog.Logger, ready func()) error {
	pods := client.CoreV1().Pods(namespace)
	now := metav1.DeleteOptions{GracePeriodSeconds: new(int64)}
	// What a killed process left.
	err := pods.DeleteCollection(ctx, now, metav1.ListOptions{LabelSelector: label})
	for err != nil && ctx.Err() == nil {
		time.Sleep(50 * time.Millisecond)
		err = pods.DeleteCollection(ctx, now, metav1.ListOptions{LabelSelector: label})
	}
	p, err := create(ctx, client)
	if err != nil {
		return ended(ctx, err)
	}
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if err := pods.Delete(last, p.Name, now); err != nil && !apierrors.IsNotFound(err) {
			log.Debug("the probe pod could not be removed", "error", err)
		}
	}()
	ip, err := address(ctx, client, p.Name)
	if err != nil {
		return ended(ctx, err)
	}
	if err := ask(ctx, ip, p.Name); err != nil {
		return ended(ctx, err)
	}
	ready()
	if err := pods.Delete(ctx, p.Name, now); err != nil {
		log.Warn("the probe pod could not be removed", "pod", p.Name, "error", err)
	}
	<-ctx.Done()
	return nil
}

// ended hides the error of a stop.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // told to stop
	}
	return err
}

// create makes the Pod. Until the controllers have made the namespace and its
// service account it is refused; that takes a moment on the first start.
func create(ctx context.Context, client kubernetes.Interface) (*corev1.Pod, error) {
	no := false
	nobody := int64(65535)
	want := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "penstock-probe-", Labels: map[string]string{label: "node"}},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken:  &no,
			EnableServiceLinks:            &no,
			TerminationGracePeriodSeconds: new(int64),
			RestartPolicy:                 corev1.RestartPolicyNever,
			PriorityClassName:             "system-node-critical",
			// It may be scheduled before the node is ready: the kubelet starts
			// it the moment that the network is.
			Tolerations:     []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			SecurityContext: &corev1.PodSecurityContext{RunAsUser: &nobody, RunAsGroup: &nobody},
			Containers: []corev1.Container{{
				Name: "probe", Image: infra.ToolsImage, ImagePullPolicy: corev1.PullNever,
				Args: []string{"serve", ":" + port, "probe"},
			}},
		},
	}
	for {
		p, err := client.CoreV1().Pods(namespace).Create(ctx, want, metav1.CreateOptions{})
		if err == nil {
			return p, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("create the probe pod: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// address waits until the Pod runs and has one.
func address(ctx context.Context, client kubernetes.Interface, name string) (string, error) {
	sel := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()}
	for ctx.Err() == nil {
		w, err := client.CoreV1().Pods(namespace).Watch(ctx, sel)
		if err != nil {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		for e := range w.ResultChan() {
			p, ok := e.Object.(*corev1.Pod)
			if !ok {
				continue
			}
			switch p.Status.Phase {
			case corev1.PodRunning:
				if p.Status.PodIP != "" {
					w.Stop()
					return p.Status.PodIP, nil
				}
			case corev1.PodFailed, corev1.PodSucceeded:
				w.Stop()
				return "", fmt.Errorf("the probe pod ended: %s %s", p.Status.Reason, p.Status.Message)
			}
		}
	}
	return "", ctx.Err()
}

// ask wants the Pod itself to answer.
func ask(ctx context.Context, ip, name string) error {
	c := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	url := "http://" + net.JoinHostPort(ip, port) + "/ready"
	var last error
	for {
		if last = try(ctx, c, url, name); last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("reach the probe pod: %w", last)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func try(ctx context.Context, c *http.Client, url, name string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := c.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		return err
	}
	if !strings.HasPrefix(string(b), name+" /ready probe") {
		return fmt.Errorf("%s answered %.80q", url, b)
	}
	return nil
}
